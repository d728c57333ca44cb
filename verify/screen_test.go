package verify

import (
	"bytes"
	pictures "image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// drawing is a dark screen with a white box, shifted.
func drawing(shift int, ink color.Color) *pictures.NRGBA {
	p := pictures.NewNRGBA(pictures.Rect(0, 0, 160, 100))
	for y := range 100 {
		for x := range 160 {
			p.Set(x, y, color.NRGBA{0, 0, 0x30, 0xff})
		}
	}
	for y := range 20 {
		for x := range 40 {
			p.Set(30+shift+x, 40+y, ink)
		}
	}
	return p
}

func TestScreenLikeAPicture(t *testing.T) {
	write := func(p pictures.Image) string {
		var b bytes.Buffer
		if err := png.Encode(&b, p); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "p.png")
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	want := drawing(0, color.White)
	for x := range 160 { // a clock runs along the upper edge
		for y := range 8 {
			want.Set(x, y, color.NRGBA{})
		}
	}
	p, err := readPicture(write(want))
	if err != nil {
		t.Fatal(err)
	}
	clock := drawing(0, color.White)
	cursor := drawing(0, color.White)
	full := drawing(0, color.White)
	for i := range 160 {
		clock.Set(i, i%8, color.White)
		for y := range 30 {
			full.Set(i, 65+y, color.White)
		}
	}
	for i := range 9 {
		cursor.Set(i, 90, color.White)
	}
	for _, tc := range []struct {
		name   string
		screen pictures.Image
		like   bool
	}{
		{"the same", drawing(0, color.White), true},
		{"a nearby shade", drawing(0, color.NRGBA{0xf4, 0xf4, 0xff, 0xff}), true},
		{"another time", clock, true},
		{"a cursor", cursor, true},
		{"empty", drawing(0, color.NRGBA{0, 0, 0x30, 0xff}), false},
		{"black", pictures.NewGray(pictures.Rect(0, 0, 160, 100)), false},
		{"elsewhere", drawing(20, color.White), false},
		{"more on it", full, false},
		{"another size", pictures.NewNRGBA(pictures.Rect(0, 0, 161, 100)), false},
	} {
		if got := p.like(tc.screen); got != tc.like {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
	for name, bad := range map[string]string{
		"one colour": write(drawing(0, color.NRGBA{0, 0, 0x30, 0xff})), "nothing to compare": write(pictures.NewNRGBA(pictures.Rect(0, 0, 50, 50))), "no file": "/nonexistent",
	} {
		if _, err := readPicture(bad); err == nil {
			t.Errorf("%s was taken for a picture", name)
		}
	}
}

func TestTextOfTheScreen(t *testing.T) {
	memory := make([]byte, textBytes)
	for i, b := range []byte("may-thu login:") {
		memory[3*2*textColumns+2*i], memory[3*2*textColumns+2*i+1] = b, 7
	}
	memory[0] = 0xdb
	lines := strings.Split(textLines(memory), "\n")
	if lines[0] != "?" || lines[3] != "may-thu login:" || len(lines) != textBytes/2/textColumns+1 {
		t.Errorf("%d lines, %q and %q", len(lines), lines[0], lines[3])
	}
}
