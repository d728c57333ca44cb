// Command demodata makes the SQLite database that "make demo" backs up.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	_ "modernc.org/sqlite" // the driver
)

// rows is how many documents the register holds.
const rows = 40_000

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demodata FILE")
		os.Exit(2)
	}
	if err := fill(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "demodata:", err)
		os.Exit(1)
	}
}

func fill(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if _, err := tx.ExecContext(ctx, `CREATE TABLE van_ban (so INTEGER PRIMARY KEY, ngay_den TEXT NOT NULL, trich_yeu TEXT NOT NULL)`); err != nil {
		return err
	}
	insert, err := tx.PrepareContext(ctx, `INSERT INTO van_ban VALUES (?, ?, ?)`)
	if err != nil {
		return err
	}
	// As an application writes it: local time without a zone.
	newest := time.Now().In(time.FixedZone("Asia/Ho_Chi_Minh", 7*60*60))
	for i := range rows {
		day := newest.Add(-time.Duration(rows-1-i) * 10 * time.Minute)
		if _, err := insert.ExecContext(ctx, i+1, day.Format(time.DateTime), fmt.Sprintf("Văn bản đến số %d về việc phối hợp công tác", i+1)); err != nil {
			return err
		}
	}
	return tx.Commit()
}
