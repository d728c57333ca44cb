package sources

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"strconv"
)

const (
	redisMagic = "REDIS"
	// redisHead is longer than all that any known server's dump says of itself.
	redisHead = 4096
	// redisEnd and redisAux are opcodes of a dump.
	redisEnd, redisAux = 0xff, 0xfa
	// redisPolynomial is that of Jones, with its bits in reverse order (src/crc64.c).
	redisPolynomial = 0x95ac9329ac4bc9b5
)

// A RedisDump looks at a dump that is written to it: where it begins, and whether it is
// whole. The format is that of Redis (src/rdb.c): "REDIS" and four digits, entries, an
// opcode for the end, and the CRC-64 of all before it.
type RedisDump struct {
	table *crc64.Table
	sum   uint64 // of all but held
	head  []byte
	held  []byte // the last bytes, up to 8: they may be the checksum
	last  byte   // the one before them
	bytes int64
}

// NewRedisDump returns one that has seen nothing yet.
func NewRedisDump() *RedisDump { return &RedisDump{table: crc64.MakeTable(redisPolynomial)} }

// Write never fails.
func (d *RedisDump) Write(p []byte) (int, error) {
	d.bytes += int64(len(p))
	d.head = append(d.head, p[:min(len(p), redisHead-len(d.head))]...)
	const sumBytes = 8
	if len(p) >= sumBytes {
		d.pass(d.held)
		d.pass(p[:len(p)-sumBytes])
		d.held = append(d.held[:0], p[len(p)-sumBytes:]...)
		return len(p), nil
	}
	held := append(d.held, p...)
	over := max(0, len(held)-sumBytes)
	d.pass(held[:over])
	d.held = append([]byte(nil), held[over:]...)
	return len(p), nil
}

// pass takes bytes that are not the checksum.
func (d *RedisDump) pass(p []byte) {
	if len(p) == 0 {
		return
	}
	d.sum = ^crc64.Update(^d.sum, d.table, p) // the server inverts neither before nor after
	d.last = p[len(p)-1]
}

// Check says what is wrong with the dump; nil when it is whole. A server may be told
// to leave out the checksum (rdbchecksum no); then only the end can be looked at.
func (d *RedisDump) Check() error {
	number, err := strconv.Atoi(string(d.head[min(len(d.head), len(redisMagic)):min(len(d.head), len(redisMagic)+4)]))
	switch {
	case !bytes.HasPrefix(d.head, []byte(redisMagic)) && !bytes.HasPrefix(d.head, []byte("VALKEY")):
		return errors.New("it is not a Redis dump")
	case err == nil && number < 5:
		return fmt.Errorf("its format %d is too old to be checked", number)
	case d.last != redisEnd || len(d.held) < 8:
		return errors.New("it ends before its end")
	}
	if stored := binary.LittleEndian.Uint64(d.held); stored != 0 && stored != d.sum {
		return errors.New("its checksum is not that of its content")
	}
	return nil
}

// Version is the server that made the dump, such as "redis 7.0"; "" when it does not
// tell.
func (d *RedisDump) Version() string {
	told := d.told()
	switch {
	case told["valkey-ver"] != "":
		return RedisVersion("valkey", told["valkey-ver"])
	case told["redis-ver"] != "":
		return RedisVersion("redis", told["redis-ver"])
	}
	return ""
}

// Memory is how many bytes the data took in the server that made the dump; 0 when it
// does not tell.
func (d *RedisDump) Memory() int64 { return redisInfo(d.told()).number("used-mem") }

// told is what the dump says of itself.
func (d *RedisDump) told() map[string]string {
	rest := d.head[min(len(d.head), len(redisMagic)+4):]
	told := map[string]string{}
	for len(rest) > 0 && rest[0] == redisAux {
		var key, value string
		var ok1, ok2 bool
		key, rest, ok1 = rdbString(rest[1:])
		value, rest, ok2 = rdbString(rest)
		if !ok1 || !ok2 {
			break
		}
		told[key] = value
	}
	return told
}

// rdbString reads a short text or number and returns what follows it.
func rdbString(b []byte) (text string, rest []byte, ok bool) {
	if len(b) == 0 {
		return "", nil, false
	}
	n, skip, isNumber := int(b[0]&0x3f), 1, false
	switch b[0] >> 6 {
	case 1: // 14 bits of length
		if len(b) < 2 {
			return "", nil, false
		}
		n, skip = n<<8|int(b[1]), 2
	case 2:
		return "", nil, false // none of these is so long
	case 3: // a number of 1, 2 or 4 bytes
		if n > 2 {
			return "", nil, false
		}
		n, isNumber = 1<<n, true
	}
	if len(b) < skip+n {
		return "", nil, false
	}
	text = string(b[skip : skip+n])
	if isNumber {
		var wide [4]byte
		copy(wide[:], text)
		text = strconv.FormatUint(uint64(binary.LittleEndian.Uint32(wide[:])), 10)
	}
	return text, b[skip+n:], true
}
