package report

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"strings"

	"saoluu/catalog"
	"saoluu/internal/fault"
)

// Bounds of the pictures in a document: one for each job, the newest, as long as they
// fit.
const (
	maxScreens     = 8
	maxScreenBytes = 512 << 10
)

// A screen is what a machine showed that was booted from a restored disk.
type screen struct {
	Test  Test
	Title string
	PNG   []byte
}

// Source is the picture as the page holds it.
func (s screen) Source() template.URL {
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(s.PNG))
}

// Number is that of the test's entry in the ledger.
func (s screen) Number() string { return strings.TrimPrefix(s.Test.Entry, "entry:") }

// screens reads the picture of the newest boot of each job, newest first. One that was
// lost from the catalog, or is none, is left out.
func screens(ctx context.Context, source Source, tests []Test) ([]screen, error) {
	var all []screen
	seen := map[string]bool{}
	for n := len(tests) - 1; n >= 0 && len(all) < maxScreens; n-- {
		t := tests[n]
		for _, a := range t.Artifacts {
			if seen[t.Job] || !strings.HasSuffix(a.Name, ".png") || a.Bytes > maxScreenBytes {
				continue
			}
			seen[t.Job] = true
			content, err := source.Facts(ctx, a.SHA256)
			if errors.Is(err, catalog.ErrMissing) || fault.KindOf(err) == fault.Damaged {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read the picture of a restore test: %w", err)
			}
			if strings.HasPrefix(string(content), "\x89PNG\r\n\x1a\n") {
				all = append(all, screen{Test: t, PNG: content})
			}
		}
	}
	return all, nil
}

// beyondWord says why a test of an image went no further, in Vietnamese. The words are
// those of verify.Result.Beyond.
func beyondWord(why string) string {
	switch why {
	case "it did not boot":
		return "không khởi động được"
	case "no check of the job boots it":
		return "chưa đặt phép thử khởi động"
	}
	return why
}
