package evidence

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"
)

// A file is one file of a bundle.
type file struct {
	name string
	data []byte
}

// packZip returns files as a zip archive. A bundle has one form: files are
// stored without compression, with the same time, no extra fields and no
// comment. So the same bundle is the same bytes, nothing can hide between the
// files, and reading needs no more memory than the archive has bytes.
func packZip(files []file, at time.Time) []byte {
	var out, directory []byte
	date, clock := dosTime(at)
	le := binary.LittleEndian
	for _, f := range files {
		offset := len(out)
		var common []byte
		common = le.AppendUint16(common, 20) // version needed: 2.0
		common = le.AppendUint16(common, 0)  // flags
		common = le.AppendUint16(common, zip.Store)
		common = le.AppendUint16(common, clock)
		common = le.AppendUint16(common, date)
		common = le.AppendUint32(common, crc32.ChecksumIEEE(f.data))
		common = le.AppendUint32(common, uint32(len(f.data)))
		common = le.AppendUint32(common, uint32(len(f.data)))
		common = le.AppendUint16(common, uint16(len(f.name)))
		common = le.AppendUint16(common, 0) // extra
		out = append(append(append(append(out, "PK\x03\x04"...), common...), f.name...), f.data...)

		directory = append(directory, "PK\x01\x02"...)
		directory = le.AppendUint16(directory, 3<<8|20) // made on Unix, so that the mode below counts
		directory = append(directory, common...)
		directory = le.AppendUint16(directory, 0)            // comment
		directory = le.AppendUint16(directory, 0)            // disk
		directory = le.AppendUint16(directory, 0)            // internal attributes
		directory = le.AppendUint32(directory, 0o100644<<16) // a regular file everybody may read
		directory = le.AppendUint32(directory, uint32(offset))
		directory = append(directory, f.name...)
	}
	start := len(out)
	out = append(append(out, directory...), "PK\x05\x06\x00\x00\x00\x00"...)
	out = le.AppendUint16(out, uint16(len(files)))
	out = le.AppendUint16(out, uint16(len(files)))
	out = le.AppendUint32(out, uint32(len(directory)))
	out = le.AppendUint32(out, uint32(start))
	return le.AppendUint16(out, 0) // comment
}

// dosTime returns the date and time of MS-DOS, which has two-second steps and
// begins in 1980.
func dosTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	if t.Year() < 1980 || t.Year() > 2107 {
		return 1<<5 | 1, 0
	}
	return uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()), uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}

// unpackZip returns the files of an archive, which has to be no larger than its
// parts and to name each file once. Whether it is in the form of packZip is for
// the caller to see.
func unpackZip(data []byte) ([]file, error) {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // names are judged below
		return nil, fmt.Errorf("it is not a zip archive: %w", err)
	}
	if len(r.File) > maxFiles {
		return nil, fmt.Errorf("it holds more than %d files", maxFiles)
	}
	seen := map[string]bool{}
	var files []file
	for _, f := range r.File {
		switch {
		case !validName(f.Name):
			return nil, fmt.Errorf("it holds %q, a name no bundle has", f.Name)
		case seen[f.Name]:
			return nil, fmt.Errorf("it holds %q twice", f.Name)
		case !f.Mode().IsRegular():
			return nil, fmt.Errorf("%q in it is not a regular file", f.Name)
		case f.Method != zip.Store:
			return nil, fmt.Errorf("%q in it is compressed, which no bundle is", f.Name)
		}
		seen[f.Name] = true
		content, err := readStored(f)
		if err != nil {
			return nil, fmt.Errorf("%q in it: %w", f.Name, err)
		}
		files = append(files, file{f.Name, content})
	}
	return files, nil
}

func readStored(f *zip.File) ([]byte, error) {
	if f.UncompressedSize64 != f.CompressedSize64 || f.UncompressedSize64 > maxBundleBytes {
		return nil, errors.New("its size is false")
	}
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	return data, errors.Join(err, r.Close())
}
