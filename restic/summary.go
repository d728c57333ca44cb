package restic

import (
	"encoding/json"
	"fmt"
	"time"

	"saoluu/internal/command"
)

// A Summary is what a backup did.
type Summary struct {
	SnapshotID string
	FilesNew   int64
	FilesChanged,
	FilesUnmodified int64
	Files      int64 // read or found unchanged
	Bytes      int64 // of them
	Added      int64 // bytes new to the repository, before compression
	Stored     int64 // the same after compression and encryption
	Start      time.Time
	End        time.Time
	Digest     *command.Digest // of the stream; nil for Paths
	Errors     []ItemError     // what could not be read, the first hundred
	ErrorCount int             // of all
	Reread     bool            // Parent was gone, so every file was read
}

// A backupReader takes the messages of a backup.
type backupReader struct {
	q       BackupRequest
	kick    func() // called when something moved
	last    Progress
	summary summaryMessage
}

// summaryMessage is the last message of a backup (restic manual, "Scripting",
// JSON output of backup).
type summaryMessage struct {
	FilesNew        int64     `json:"files_new"`
	FilesChanged    int64     `json:"files_changed"`
	FilesUnmodified int64     `json:"files_unmodified"`
	TotalFiles      int64     `json:"total_files_processed"`
	TotalBytes      int64     `json:"total_bytes_processed"`
	DataAdded       int64     `json:"data_added"`
	DataAddedPacked int64     `json:"data_added_packed"`
	Start           time.Time `json:"backup_start"`
	End             time.Time `json:"backup_end"`
	SnapshotID      string    `json:"snapshot_id"`
}

func (b *backupReader) take(m message) error {
	switch m.Type {
	case "status":
		report(m, b.q.Expect, &b.last, b.kick, b.q.OnProgress)
	case "summary":
		b.kick()
		if err := json.Unmarshal(m.raw, &b.summary); err != nil {
			return fmt.Errorf("summary of the backup: %w", err)
		}
	}
	return nil
}

func (m summaryMessage) result(t *transcript) Summary {
	return Summary{
		SnapshotID: m.SnapshotID, FilesNew: m.FilesNew, FilesChanged: m.FilesChanged, FilesUnmodified: m.FilesUnmodified,
		Files: m.TotalFiles, Bytes: m.TotalBytes, Added: m.DataAdded, Stored: m.DataAddedPacked,
		Start: m.Start, End: m.End, Errors: t.items, ErrorCount: t.count,
	}
}
