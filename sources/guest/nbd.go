package guest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// An export is a disk that is read over the NBD protocol (NetworkBlockDevice/nbd,
// doc/proto.md: fixed newstyle negotiation, structured replies). It may be used by many
// goroutines; their requests follow each other.
type export struct {
	size int64

	mu     sync.Mutex
	conn   net.Conn
	in     *bufio.Reader
	cookie uint64 // of the last request
	status uint32 // context by which the server tells what is empty
	broken error  // why the connection cannot be used any more

	late atomic.Bool // the server took too long
}

// Words of the protocol (doc/proto.md, "Values").
const (
	nbdGreeting   = "NBDMAGIC"
	nbdOptions    = "IHAVEOPT"
	nbdNewstyle   = 1 << 0
	nbdNoZeroes   = 1 << 1
	nbdAnswer     = 0x0003e889045565a9
	nbdRequest    = 0x25609513
	nbdSimple     = 0x67446698
	nbdStructured = 0x668e33ef
	nbdDone       = 1 << 0

	optGo         = 7
	optStructured = 8
	optContext    = 10

	repAck     = 1
	repInfo    = 3
	repContext = 4
	repError   = 1 << 31
	infoExport = 0

	cmdRead   = 0
	cmdEnd    = 2
	cmdStatus = 7

	chunkNone   = 0
	chunkData   = 1
	chunkHole   = 2
	chunkStatus = 5
	chunkError  = 1 << 15

	// statusZero marks bytes that read as zeros ("base:allocation").
	statusZero = 1 << 1
)

const (
	// nbdContext is the kind of knowledge that says which bytes are zeros.
	nbdContext = "base:allocation"
	// nbdPatience bounds one request. A disk that gives nothing for longer is gone.
	nbdPatience = 2 * time.Minute
	// nbdMost bounds one reading, in bytes; servers must take 32 MiB (doc/proto.md,
	// "Block size constraints").
	nbdMost = 1 << 20
	// nbdSpan is of how many bytes is asked at once what is empty.
	nbdSpan = 1 << 30
	// nbdLongest bounds what a server may send beside data, in bytes: some 500,000 runs.
	nbdLongest = 4 << 20
)

// openExport negotiates on a fresh connection. The export ends with it.
func openExport(conn net.Conn, name string) (*export, error) {
	e := &export{conn: conn, in: bufio.NewReaderSize(conn, 256<<10)}
	defer e.patience(nbdPatience)()
	if err := e.negotiate(name); err != nil {
		return nil, fmt.Errorf("read the disk over NBD: %w", e.breaks(err))
	}
	return e, nil
}

func (e *export) negotiate(name string) error {
	var hello struct {
		Greeting, Options [8]byte
		Flags             uint16
	}
	if err := binary.Read(e.in, binary.BigEndian, &hello); err != nil {
		return err
	}
	if string(hello.Greeting[:]) != nbdGreeting || string(hello.Options[:]) != nbdOptions || hello.Flags&nbdNewstyle == 0 {
		return errors.New("what answers is no server of NBD")
	}
	if err := binary.Write(e.conn, binary.BigEndian, uint32(hello.Flags&(nbdNewstyle|nbdNoZeroes))); err != nil {
		return err
	}
	if err := e.option(optStructured, nil, nil); err != nil {
		return err
	}
	text := binary.BigEndian.AppendUint32(nil, uint32(len(name)))
	text = append(text, name...)
	query := binary.BigEndian.AppendUint32(text, 1)
	query = binary.BigEndian.AppendUint32(query, uint32(len(nbdContext)))
	if err := e.option(optContext, append(query, nbdContext...), e.context); err != nil {
		return err
	}
	if err := e.option(optGo, binary.BigEndian.AppendUint16(text, 0), e.info); err != nil {
		return err
	}
	if e.size <= 0 || e.status == 0 {
		return fmt.Errorf("the server shows %d bytes, and does not tell which are zeros", e.size)
	}
	return nil
}

func (e *export) context(kind uint32, data []byte) {
	if kind == repContext && len(data) > 4 && string(data[4:]) == nbdContext {
		// 0 is a number too: it is kept with one more.
		e.status = binary.BigEndian.Uint32(data) + 1
	}
}

func (e *export) info(kind uint32, data []byte) {
	if kind == repInfo && len(data) >= 10 && binary.BigEndian.Uint16(data) == infoExport {
		e.size = int64(binary.BigEndian.Uint64(data[2:]))
	}
}

// option puts one question of the negotiation, and hands over what comes before its end.
func (e *export) option(option uint32, data []byte, take func(kind uint32, data []byte)) error {
	line := append([]byte(nbdOptions), 0, 0, 0, byte(option))
	line = binary.BigEndian.AppendUint32(line, uint32(len(data)))
	if _, err := e.conn.Write(append(line, data...)); err != nil {
		return err
	}
	for {
		var head struct {
			Magic                uint64
			Option, Kind, Length uint32
		}
		if err := binary.Read(e.in, binary.BigEndian, &head); err != nil {
			return err
		}
		if head.Magic != nbdAnswer || head.Option != option || head.Length > nbdLongest {
			return errors.New("the server's answer cannot be understood")
		}
		text := make([]byte, head.Length)
		if _, err := io.ReadFull(e.in, text); err != nil {
			return err
		}
		switch {
		case head.Kind&repError != 0:
			return fmt.Errorf("the server refuses option %d: %q", option, text)
		case head.Kind == repAck:
			return nil
		case take != nil:
			take(head.Kind, text)
		}
	}
}

// ReadAt reads bytes of the disk.
func (e *export) ReadAt(p []byte, offset int64) (n int, err error) {
	if rest := e.size - offset; int64(len(p)) > rest {
		p, err = p[:max(0, rest)], io.EOF
	}
	for n < len(p) {
		piece := p[n:min(len(p), n+nbdMost)]
		at := offset + int64(n)
		got := 0
		if err := e.request(cmdRead, at, int64(len(piece)), func(c chunk) error { return c.into(piece, at, &got) }); err != nil {
			return n, err
		}
		if got != len(piece) {
			return n, e.fail(fmt.Errorf("%d bytes came of %d", got, len(piece)))
		}
		n += len(piece)
	}
	return n, err
}

// Data calls yield for every run of bytes that is not known to be zeros only.
func (e *export) Data(yield func(offset, length int64)) error {
	for at := int64(0); at < e.size; {
		next := at
		err := e.request(cmdStatus, at, min(nbdSpan, e.size-at), func(c chunk) error {
			return c.runs(e.status-1, func(length int64, flags uint32) {
				length = min(length, e.size-next)
				if flags&statusZero == 0 && length > 0 {
					yield(next, length)
				}
				next += length
			})
		})
		if err != nil {
			return err
		}
		if next <= at {
			return e.fail(errors.New("the server does not tell which bytes are zeros"))
		}
		at = next
	}
	return nil
}

// A chunk is a piece of an answer.
type chunk struct {
	kind uint16
	data []byte
}

// into puts what was read where it belongs.
func (c chunk) into(p []byte, at int64, got *int) error {
	if c.kind == chunkNone {
		return nil
	}
	if len(c.data) < 8 || c.kind != chunkData && c.kind != chunkHole {
		return fmt.Errorf("a piece of kind %d where data were expected", c.kind)
	}
	from, rest := int64(binary.BigEndian.Uint64(c.data))-at, c.data[8:]
	length := int64(len(rest))
	if c.kind == chunkHole {
		if len(rest) != 4 {
			return errors.New("a hole without a length")
		}
		length = int64(binary.BigEndian.Uint32(rest))
	}
	if from < 0 || length > int64(len(p)) || from+length > int64(len(p)) {
		return fmt.Errorf("%d bytes at offset %d, which nobody asked for", length, at+from)
	}
	if c.kind == chunkHole {
		clear(p[from : from+length])
	} else {
		copy(p[from:], rest)
	}
	*got += int(length)
	return nil
}

// runs reads how long which bytes are of one kind.
func (c chunk) runs(context uint32, yield func(length int64, flags uint32)) error {
	if c.kind == chunkNone {
		return nil
	}
	if c.kind != chunkStatus || len(c.data) < 12 || len(c.data)%8 != 4 || binary.BigEndian.Uint32(c.data) != context {
		return fmt.Errorf("a piece of kind %d where runs were expected", c.kind)
	}
	for d := c.data[4:]; len(d) > 0; d = d[8:] {
		yield(int64(binary.BigEndian.Uint32(d)), binary.BigEndian.Uint32(d[4:]))
	}
	return nil
}

// request puts one, and takes the pieces of its answer.
func (e *export) request(command uint16, offset, length int64, take func(chunk) error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken != nil {
		return e.broken
	}
	defer e.patience(nbdPatience)()
	e.cookie++
	if err := e.send(command, offset, length); err != nil {
		return e.breaks(err)
	}
	var refused error
	for done := false; !done; {
		var err error
		var c chunk
		if c, done, err = e.receive(nbdMost + 8); err != nil {
			return e.breaks(err)
		}
		if c.kind&chunkError != 0 {
			refused = errors.Join(refused, c.refusal())
			continue
		}
		if err := take(c); err != nil {
			return e.breaks(err)
		}
	}
	return refused
}

func (e *export) send(command uint16, offset, length int64) error {
	line := binary.BigEndian.AppendUint32(nil, nbdRequest)
	line = binary.BigEndian.AppendUint16(line, 0)
	line = binary.BigEndian.AppendUint16(line, command)
	line = binary.BigEndian.AppendUint64(line, e.cookie)
	line = binary.BigEndian.AppendUint64(line, uint64(offset))
	_, err := e.conn.Write(binary.BigEndian.AppendUint32(line, uint32(length)))
	return err
}

// receive reads one piece, and whether it is the last.
func (e *export) receive(most uint32) (c chunk, done bool, err error) {
	var magic uint32
	if err := binary.Read(e.in, binary.BigEndian, &magic); err != nil {
		return c, false, err
	}
	if magic == nbdSimple { // it may come of a request that failed
		var head struct {
			Error  uint32
			Cookie uint64
		}
		err := binary.Read(e.in, binary.BigEndian, &head)
		if err == nil && (head.Error == 0 || head.Cookie != e.cookie) {
			err = errors.New("an answer without a form")
		}
		return chunk{chunkError, binary.BigEndian.AppendUint32(nil, head.Error)}, true, err
	}
	var head struct {
		Flags, Kind uint16
		Cookie      uint64
		Length      uint32
	}
	if err := binary.Read(e.in, binary.BigEndian, &head); err != nil {
		return c, false, err
	}
	if head.Kind == chunkStatus {
		most = nbdLongest
	}
	if magic != nbdStructured || head.Cookie != e.cookie || head.Length > most {
		return c, false, errors.New("the server's answer cannot be understood")
	}
	c = chunk{head.Kind, make([]byte, head.Length)}
	_, err = io.ReadFull(e.in, c.data)
	return c, head.Flags&nbdDone != 0, err
}

// refusal is the error that a server answers. Its numbers are those of Linux
// (doc/proto.md, "Error values").
func (c chunk) refusal() error {
	if len(c.data) < 4 {
		return errors.New("an error without a number")
	}
	return syscall.Errno(binary.BigEndian.Uint32(c.data))
}

func (e *export) fail(err error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.breaks(err)
}

// breaks ends the connection: what comes next belongs to nobody knows what.
func (e *export) breaks(err error) error {
	if e.late.Load() {
		err = fmt.Errorf("nothing came for %s", nbdPatience)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err // whose socket it is says nothing
	}
	e.broken = fmt.Errorf("the connection to the virtual machine broke: %w", err)
	_ = e.conn.Close()
	return e.broken
}

// patience ends the connection when a request takes longer.
func (e *export) patience(limit time.Duration) (stop func() bool) {
	return time.AfterFunc(limit, func() {
		e.late.Store(true)
		_ = e.conn.Close()
	}).Stop
}

// Close says goodbye.
func (e *export) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken != nil {
		return nil
	}
	e.cookie++
	defer e.patience(time.Second)()
	_ = e.send(cmdEnd, 0, 0) // a server that is gone already has no need of it
	e.broken = net.ErrClosed
	return e.conn.Close()
}
