package verify

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	pictures "image"

	"saoluu/internal/fault"
)

// signs are those by which a machine is told to be up.
type signs struct {
	text    *regexp.Regexp // on its serial line, or on its screen while that shows text
	picture *picture       // of its screen; nil: none
	bare    bool           // whatever shows them: no operating system is expected
}

// signs reads what a check asks for.
func (b Boot) signs() (signs, error) {
	marker, err := regexp.Compile(cmp.Or(b.Marker, bootMarker))
	if err != nil {
		return signs{}, fault.New(fault.Usage, "boot", err, "correct the expression")
	}
	s := signs{text: marker}
	if b.Picture != "" {
		if s.picture, err = readPicture(b.Picture); err != nil {
			return s, fault.New(fault.Unknown, fmt.Sprintf("picture %q", b.Picture), err, "take boot.png of the evidence of a test whose machine was up, and make transparent what changes, such as a clock")
		}
	}
	return s, nil
}

// A picture is how the screen of a machine looks that is up. What is transparent in it
// is not compared.
type picture struct {
	image pictures.Image
	plain color.RGBA // the commonest colour: the ground, on which the rest says something
	rest  int        // how many pixels have another
}

const (
	// leastDrawn is how many pixels of a picture must differ from its ground: less could
	// not be told from an empty screen.
	leastDrawn = 200
	// drawnAlike and groundAlike are the shares of pixels that must be as in the picture,
	// in percent, counted apart: on a screen that is mostly empty a share of all would
	// be met by one that is empty.
	drawnAlike  = 95
	groundAlike = 98
	// shade is by how much one colour may differ, of 255.
	shade = 16
)

// readPicture reads a PNG file.
func readPicture(path string) (*picture, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxScreen))
	if err != nil {
		return nil, err
	}
	size, err := png.DecodeConfig(bytes.NewReader(content))
	if err != nil || size.Width*size.Height > maxScreenPixels {
		return nil, errors.Join(errors.New("it is no PNG of a screen"), err)
	}
	image, err := png.Decode(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	p := &picture{image: image}
	count, all := map[color.RGBA]int{}, 0
	p.each(func(_, _ int, c color.RGBA) {
		count[c]++
		all++
	})
	for c, n := range count {
		if best := count[p.plain]; n > best || n == best && less(c, p.plain) {
			p.plain = c
		}
	}
	p.rest = all - count[p.plain]
	if p.rest < leastDrawn {
		return nil, fmt.Errorf("only %d of its pixels are drawn: an empty screen would look like it", p.rest)
	}
	return p, nil
}

// less orders colours, so that of two that are as common the same one is chosen always.
func less(a, b color.RGBA) bool {
	return cmp.Or(cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B)) < 0
}

// each calls yield for every pixel that is compared.
func (p *picture) each(yield func(x, y int, c color.RGBA)) {
	bounds := p.image.Bounds()
	for y := range bounds.Dy() {
		for x := range bounds.Dx() {
			c := color.NRGBAModel.Convert(p.image.At(bounds.Min.X+x, bounds.Min.Y+y)).(color.NRGBA)
			if c.A == 0xff {
				yield(x, y, color.RGBA(c))
			}
		}
	}
}

// like reports whether a screen looks like the picture.
func (p *picture) like(screen pictures.Image) bool {
	bounds := screen.Bounds()
	if bounds.Size() != p.image.Bounds().Size() {
		return false
	}
	var drawn, ground, drawnSame, groundSame int
	p.each(func(x, y int, want color.RGBA) {
		got := color.RGBAModel.Convert(screen.At(bounds.Min.X+x, bounds.Min.Y+y)).(color.RGBA)
		same := near(want.R, got.R) && near(want.G, got.G) && near(want.B, got.B)
		of, alike := &drawn, &drawnSame
		if want == p.plain {
			of, alike = &ground, &groundSame
		}
		*of++
		if same {
			*alike++
		}
	})
	return drawnSame*100 >= drawn*drawnAlike && groundSame*100 >= ground*groundAlike
}

func near(a, b uint8) bool { return max(a, b)-min(a, b) <= shade }

// Where the screen of a PC keeps its letters while it shows text, two bytes each (IBM
// VGA; Linux, drivers/video/console/vgacon.c): all of it, since the part that is seen
// wanders.
const (
	textMemory  = 0xb8000
	textBytes   = 32 << 10
	textColumns = 80
)

// looksEach is how many polls pass between two looks at the screen.
const looksEach = 10

// shows reports whether the screen says that the machine is up. A picture must be seen
// twice in a row. That it cannot be looked at now is no answer: the next look may.
func (m *machine) shows(ctx context.Context) bool {
	if m.looks++; m.looks%looksEach != 0 {
		return false
	}
	if m.want.text.MatchString(m.newLines(ctx)) {
		m.told = ", by the text on its screen"
		return true
	}
	if m.want.picture == nil {
		return false
	}
	screen, err := m.photograph(ctx)
	before := m.alike
	m.alike = err == nil && m.want.picture.like(screen)
	if m.alike && before {
		m.told = ", by the picture on its screen"
	}
	return m.alike && before
}

// newLines are the lines of the screen that did not stand there already when the kernel
// came: that does not clear what a boot menu wrote.
func (m *machine) newLines(ctx context.Context) string {
	return strings.Join(slices.DeleteFunc(strings.Split(m.textScreen(ctx), "\n"), func(line string) bool {
		return slices.Contains(m.stale, line)
	}), "\n")
}

// textScreen is what stands on the screen; nonsense while that shows graphics.
func (m *machine) textScreen(ctx context.Context) string {
	path := filepath.Join(m.dir, "screen.text")
	err := m.monitor.Ask(ctx, "pmemsave", map[string]any{"val": textMemory, "size": textBytes, "filename": path}, nil)
	if err != nil {
		return ""
	}
	defer os.Remove(path)
	// Whoever broke out of the emulator may have put anything there.
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer file.Close()
	content, _ := io.ReadAll(io.LimitReader(file, textBytes)) // what there is
	return textLines(content)
}

// textLines makes lines of the memory of a screen. Letters beyond ASCII are of a code
// page that nobody names, and become question marks.
func textLines(memory []byte) string {
	var all strings.Builder
	for len(memory) >= 2*textColumns {
		line := make([]byte, textColumns)
		for i := range line {
			switch b := memory[2*i]; {
			case b == 0:
				line[i] = ' '
			case b < ' ' || b > '~':
				line[i] = '?'
			default:
				line[i] = b
			}
		}
		memory = memory[2*textColumns:]
		all.Write(bytes.TrimRight(line, " "))
		all.WriteByte('\n')
	}
	return all.String()
}
