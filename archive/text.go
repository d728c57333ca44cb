package archive

import (
	_ "embed"
	"fmt"
	"strings"
	"text/template"
	"time"
)

//go:embed huong-dan.txt
var guideText string

//go:embed readme.txt
var readmeText string

// A page is what the instructions are made from.
type page struct {
	Index
	Disc  int
	Zone  *time.Location
	Here  []Volume // of this disc
	First string   // volume
	Stem  string   // of the names of the volumes
}

// When shows an instant by the clock of the site.
func (p page) When(t time.Time) string { return t.In(p.Zone).Format("02/01/2006 15:04 (-07:00)") }

// Until shows the end of a run's keeping.
func (p page) Until(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.In(p.Zone).Format("02/01/2006")
}

// MiB shows a size.
func (p page) MiB(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// instructions returns the texts of a disc by file name.
func instructions(x Index, disc int, zone *time.Location) map[string]string {
	p := page{Index: x, Disc: disc, Zone: zone}
	if zone == nil {
		p.Zone = time.UTC
	}
	for _, v := range x.Volumes {
		if v.Disc == disc {
			p.Here = append(p.Here, v)
		}
	}
	p.First = x.Volumes[0].Name
	p.Stem = p.First[:strings.LastIndexByte(p.First, '.')]
	return map[string]string{GuideFile: p.render(guideText), ReadmeFile: p.render(readmeText)}
}

func (p page) render(text string) string {
	var out strings.Builder
	if err := template.Must(template.New("").Parse(text)).Execute(&out, p); err != nil {
		panic("archive: " + err.Error()) // the template is part of the program; a test renders it
	}
	return out.String()
}
