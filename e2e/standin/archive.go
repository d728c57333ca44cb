package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
)

// The archive format of mongodump (mongo-tools, common/archive/spec.md).
const (
	archiveMagic      = 0x8199e26d
	archiveTerminator = 0xffffffff
)

// A space is a collection in an archive.
type space struct {
	db, collection string
	count          int
}

func (s space) name() string { return s.db + "." + s.collection }

type archive struct {
	server, tools string
	spaces        []space
}

func newArchive(server, tools string) *archive { return &archive{server: server, tools: tools} }

func (a *archive) add(db, collection string, count int) {
	a.spaces = append(a.spaces, space{db, collection, count})
}

func (a *archive) bytes() []byte {
	out := binary.LittleEndian.AppendUint32(nil, archiveMagic)
	out = append(out, document(field{"concurrent_collections", int32(4)}, field{"version", "0.1"}, field{"server_version", a.server}, field{"tool_version", a.tools})...)
	for _, s := range a.spaces {
		out = append(out, document(field{"db", s.db}, field{"collection", s.collection}, field{"metadata", `{"indexes":[{"v":2,"key":{"_id":1},"name":"_id_"}],"type":"collection"}`},
			field{"size", int32(0)}, field{"type", "collection"})...)
	}
	out = binary.LittleEndian.AppendUint32(out, archiveTerminator)
	for _, s := range a.spaces {
		sum := crc64.New(crc64.MakeTable(crc64.ECMA))
		if s.count > 0 {
			out = append(out, document(field{"db", s.db}, field{"collection", s.collection}, field{"EOF", false}, field{"CRC", int64(0)})...)
			for i := range s.count {
				doc := document(field{"_id", int32(i)}, field{"so_hieu", fmt.Sprintf("%d/QĐ-UBND", i)})
				_, _ = sum.Write(doc)
				out = append(out, doc...)
			}
			out = binary.LittleEndian.AppendUint32(out, archiveTerminator)
		}
		out = append(out, document(field{"db", s.db}, field{"collection", s.collection}, field{"EOF", true}, field{"CRC", int64(sum.Sum64())})...)
		out = binary.LittleEndian.AppendUint32(out, archiveTerminator)
	}
	return out
}

type field struct {
	name  string
	value any
}

// document encodes BSON (bsonspec.org).
func document(fields ...field) []byte {
	var body []byte
	for _, f := range fields {
		switch v := f.value.(type) {
		case string:
			body = append(append(append(body, 2), f.name...), 0)
			body = binary.LittleEndian.AppendUint32(body, uint32(len(v)+1))
			body = append(append(body, v...), 0)
		case int32:
			body = append(append(append(body, 16), f.name...), 0)
			body = binary.LittleEndian.AppendUint32(body, uint32(v))
		case int64:
			body = append(append(append(body, 18), f.name...), 0)
			body = binary.LittleEndian.AppendUint64(body, uint64(v))
		case bool:
			body = append(append(append(body, 8), f.name...), 0, map[bool]byte{true: 1}[v])
		}
	}
	out := binary.LittleEndian.AppendUint32(nil, uint32(len(body)+5))
	return append(append(out, body...), 0)
}

// fields decodes what document encodes.
func fields(doc []byte) (map[string]any, error) {
	got := map[string]any{}
	rest := doc[4 : len(doc)-1]
	bad := errors.New("invalid BSON")
	for len(rest) > 0 {
		kind := rest[0]
		end := bytes.IndexByte(rest, 0)
		if end < 1 {
			return nil, bad
		}
		name := string(rest[1:end])
		rest = rest[end+1:]
		size := map[byte]int{2: 4, 16: 4, 18: 8, 8: 1}[kind]
		if size == 0 || len(rest) < size {
			return nil, bad
		}
		switch kind {
		case 2:
			n := int(binary.LittleEndian.Uint32(rest))
			if n < 1 || len(rest) < 4+n {
				return nil, bad
			}
			got[name], size = string(rest[4:4+n-1]), 4+n
		case 16:
			got[name] = int32(binary.LittleEndian.Uint32(rest))
		case 18:
			got[name] = int64(binary.LittleEndian.Uint64(rest))
		case 8:
			got[name] = rest[0] == 1
		}
		rest = rest[size:]
	}
	return got, nil
}

// readArchive reads an archive as mongorestore does: it counts documents and holds
// them against the checksum of their collection, and misses what is not there.
func readArchive(r io.Reader) (counts map[string]int, names []string, err error) {
	wrong := func(format string, args ...any) (map[string]int, []string, error) {
		return counts, names, fmt.Errorf(format, args...)
	}
	var magic uint32
	if err := binary.Read(r, binary.LittleEndian, &magic); err != nil || magic != archiveMagic {
		return wrong("stream or file does not appear to be a mongodump archive")
	}
	open := map[string]bool{}
	for first := true; ; first = false {
		doc, err := readDocument(r)
		if err != nil {
			return wrong("error reading archive prelude: %w", err)
		}
		if doc == nil {
			break
		}
		if f, err := fields(doc); err != nil {
			return wrong("error reading archive prelude: %w", err)
		} else if !first {
			open[fmt.Sprint(f["db"], ".", f["collection"])] = true
		}
	}
	counts = map[string]int{}
	sums := map[string][]byte{}
	for {
		head, err := readDocument(r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || head == nil {
			return wrong("corrupted archive: parse error: %v", err)
		}
		f, err := fields(head)
		if err != nil {
			return wrong("error demultiplexing archive; header bson doesn't unmarshal as a collection header ( %w )", err)
		}
		name := fmt.Sprint(f["db"], ".", f["collection"])
		for {
			doc, err := readDocument(r)
			if err != nil {
				return wrong("corrupted archive: ParserConsumer.BodyBSON() ( %w )", err)
			}
			if doc == nil {
				break
			}
			counts[name]++
			sums[name] = append(sums[name], doc...)
		}
		if f["EOF"] == true {
			if crc := int64(crc64.Checksum(sums[name], crc64.MakeTable(crc64.ECMA))); crc != f["CRC"] {
				return wrong("CRC mismatch for namespace `%s`, %v!=%v", name, crc, f["CRC"])
			}
			delete(open, name)
			names = append(names, name)
		}
	}
	for name := range open {
		return wrong("error demultiplexing archive; archive finished before all collections were seen (`%s`)", name)
	}
	return counts, names, nil
}

// readDocument returns nil for a terminator.
func readDocument(r io.Reader) ([]byte, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(head)
	if size == archiveTerminator {
		return nil, nil
	}
	if size < 5 || size > 16<<20 {
		return nil, fmt.Errorf("%d is neither a valid bson length nor a archive terminator", size)
	}
	doc := append(head, make([]byte, size-4)...)
	if _, err := io.ReadFull(r, doc[4:]); err != nil {
		return nil, fmt.Errorf("read bson ( %v )", err)
	}
	if doc[size-1] != 0 {
		return nil, fmt.Errorf("bson (size: %d, byte: %d) doesn't end with a null byte", size, doc[size-1])
	}
	return doc, nil
}
