package catalog

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"saoluu/evidence"
)

// Inventory returns the inventory in force at asOf, the zero time meaning now.
// Before the first inventory SetAt is zero and everything is empty.
func (c *Catalog) Inventory(ctx context.Context, asOf time.Time) (InventoryAt, error) {
	const op = "read the inventory"
	at := asOfSeconds(asOf)
	inventory := InventoryAt{Since: map[string]time.Time{}}
	set, line, err := c.inventoryEntry(ctx, at)
	if errors.Is(err, sql.ErrNoRows) {
		return inventory, nil
	}
	if err != nil {
		return InventoryAt{}, classify(op, err)
	}
	e, err := Entry{JSON: line}.Decode()
	if err != nil {
		return InventoryAt{}, classify(op, err)
	}
	var ok bool
	if inventory.InventorySet, ok = e.(InventorySet); !ok {
		return InventoryAt{}, classify(op, fmt.Errorf("its entry is of kind %q", e.Kind()))
	}
	inventory.SetAt = instant(set)
	return inventory, classify(op, c.addHistory(ctx, &inventory, at))
}

func (c *Catalog) inventoryEntry(ctx context.Context, asOf int64) (set int64, line []byte, err error) {
	err = c.read.QueryRowContext(ctx, `SELECT m.at, l.entry FROM marks m JOIN ledger l ON l.seq=m.seq WHERE m.kind=? AND m.at<=? ORDER BY m.seq DESC LIMIT 1`,
		kindInventory, asOf).Scan(&set, &line)
	return set, line, err
}

// InventoryDigest returns the ConfigSHA256 of the inventory in force at asOf,
// which is "" before the first. Every start asks for it, and with 10,000 jobs the
// whole inventory would take as long to read as all else.
func (c *Catalog) InventoryDigest(ctx context.Context, asOf time.Time) (string, error) {
	const op = "read the inventory"
	_, line, err := c.inventoryEntry(ctx, asOfSeconds(asOf))
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", classify(op, err)
	}
	parts, err := evidence.SplitEntry(line)
	if err != nil {
		return "", classify(op, err)
	}
	var only struct {
		ConfigSHA256 string `json:"config_sha256"`
	}
	err = json.Unmarshal(parts.Body, &only)
	return only.ConfigSHA256, classify(op, err)
}

// addHistory adds since when each asset has been known and which have left.
func (c *Catalog) addHistory(ctx context.Context, inventory *InventoryAt, asOf int64) error {
	present := assetsOf(inventory.InventorySet)
	removed := map[string]RemovedAsset{}
	err := each(ctx, c.read, `SELECT n.name, a.since, a.until, a.asset FROM assets a JOIN names n ON n.id=a.job WHERE a.since<=? ORDER BY n.name, a.seq`,
		[]any{asOf}, func(rows *sql.Rows) error {
			var job, text string
			var since, until int64
			if err := rows.Scan(&job, &since, &until, &text); err != nil {
				return err
			}
			if _, ok := inventory.Since[job]; !ok {
				inventory.Since[job] = instant(since)
			}
			if _, here := present[job]; here || until == 0 || until > asOf {
				return nil
			}
			gone := RemovedAsset{At: instant(until)}
			err := json.Unmarshal([]byte(text), &gone.Asset)
			removed[job] = gone
			return err
		})
	for _, job := range sortedKeys(removed) {
		inventory.Removed = append(inventory.Removed, removed[job])
	}
	return err
}
