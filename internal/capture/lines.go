package capture

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxLine bounds a record. A lookup has up to 64 legs of up to 512 hops; ones
// of more than a megabyte have not been seen.
const maxLine = 16 << 20

// line is one line of a file.
type line struct {
	text   []byte // without its end; valid until the next call; nil if it was too long
	number int    // from 1
	offset int64
	ended  bool // by a newline: the last line of a file that was cut short is not
}

// lineReader reads lines, and holds at most maxLine bytes.
type lineReader struct {
	r      *bufio.Reader
	buf    []byte
	number int
	offset int64
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 1<<18)}
}

// next returns the next line that is not blank; io.EOF after the last.
func (l *lineReader) next() (line, error) {
	for {
		got, err := l.read()
		if err != nil || got.text == nil || len(bytes.TrimSpace(got.text)) > 0 {
			return got, err
		}
	}
}

func (l *lineReader) read() (line, error) {
	l.buf = l.buf[:0]
	l.number++
	got := line{number: l.number, offset: l.offset}
	tooLong := false
	for {
		part, err := l.r.ReadSlice('\n')
		l.offset += int64(len(part))
		if tooLong = tooLong || len(l.buf)+len(part) > maxLine; !tooLong {
			l.buf = append(l.buf, part...)
		}
		switch {
		case err == nil:
			got.ended = true
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case !errors.Is(err, io.EOF):
			return got, err
		case l.offset == got.offset:
			return got, io.EOF
		}
		if !tooLong {
			got.text = bytes.TrimSuffix(l.buf, []byte("\n"))
		}
		return got, nil
	}
}
