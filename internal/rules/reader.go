package rules

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/kernel"
)

// Reader reads the rules of network namespaces and answers questions about
// them. It is not safe for concurrent use.
type Reader struct {
	path   func(inode uint32) string
	spaces map[uint32]*space
	have   haveNFTables
}

// NewReader returns a Reader. path returns what setns accepts for a namespace,
// or nothing if that has gone.
func NewReader(path func(inode uint32) string) *Reader {
	return &Reader{path: path, spaces: map[uint32]*space{}}
}

// How long what was read of a namespace is good: a second, and twenty times as
// long as it took, so that reading never costs more than a twentieth of a
// processor. What could not be read is left alone for longer.
const (
	goodFor      = time.Second
	goodPerSpent = 20
	failedFor    = 30 * time.Second
	spendAtMost  = 4 * time.Second
)

// maxSpaces bounds how many namespaces are remembered.
const maxSpaces = 512

// space is what was read of one namespace, and what was answered from it.
type space struct {
	namespace
	nftables bool // this kernel has them
	born     time.Time
	bornAt   uint64 // the same, ns of CLOCK_MONOTONIC
	spent    time.Duration
	err      error

	live     liveTables
	saved    map[string]savedTables // by program and table
	legacy   map[string][]string    // names of iptables' own tables, by the file that has them
	ipvs     []ipvsService
	ipvsRead bool
	attached map[device][]string
	answers  map[memo]*Answer
}

type device struct {
	ifindex uint32
	place   kernel.Place
}

// memo is a question as far as the answer depends on it.
type memo struct {
	Question
	mark uint32
}

// maxAnswers bounds how many answers are remembered of a space.
const maxAnswers = 4096

// memoOf leaves out what differs for each packet: the time, the client's port,
// and the port that SNAT chose.
func memoOf(q *Question) memo {
	m := memo{Question: *q}
	m.Time, m.Mark, m.Src = 0, nil, addrOnly(q.Src)
	if q.Deed == SNAT {
		m.To = addrOnly(q.To)
	}
	if q.Mark != nil {
		m.mark = *q.Mark
	}
	return m
}

// Ask answers a question about a namespace, or returns nil if no rule fits. The
// error says why the rules could not be read.
func (r *Reader) Ask(netns uint32, q *Question) (*Answer, error) {
	s := r.space(netns)
	if s == nil || s.err != nil {
		return nil, spaceError(s)
	}
	key := memoOf(q)
	if a, ok := s.answers[key]; ok {
		return a, nil
	}
	a, again, err := s.answer(q)
	if err != nil {
		return nil, s.fail(err)
	}
	if again && q.Mark == nil && len(s.answers) < maxAnswers {
		s.answers[key] = a
	}
	return a, nil
}

// Attached returns the programs of a device in words; see kernel.Attached.
func (r *Reader) Attached(netns, ifindex uint32, at kernel.Place) ([]string, error) {
	s := r.space(netns)
	if s == nil || s.err != nil {
		return nil, spaceError(s)
	}
	key := device{ifindex, at}
	names, ok := s.attached[key]
	if !ok {
		err := s.spend(func() (err error) {
			names, err = kernel.Attached(kernel.Namespace{Inode: s.inode, Path: s.path}, int(ifindex), at)
			return err
		})
		if err != nil {
			return nil, s.fail(err)
		}
		s.attached[key] = names
	}
	return names, nil
}

func spaceError(s *space) error {
	if s == nil {
		return nil
	}
	return s.err
}

// space returns what is known of a namespace, anew if that is old; nil if the
// namespace has gone.
func (r *Reader) space(netns uint32) *space {
	now := time.Now()
	if s := r.spaces[netns]; s != nil && now.Sub(s.born) < s.good() {
		return s
	}
	path := r.path(netns)
	if netns == 0 || path == "" {
		return nil
	}
	if len(r.spaces) >= maxSpaces {
		maps.DeleteFunc(r.spaces, func(_ uint32, s *space) bool { return now.Sub(s.born) >= s.good() })
	}
	s := &space{
		namespace: namespace{netns, path}, nftables: r.have.ask(now), born: now, bornAt: monotonic(),
		live: newLiveTables(), saved: map[string]savedTables{}, legacy: map[string][]string{},
		attached: map[device][]string{}, answers: map[memo]*Answer{},
	}
	r.spaces[netns] = s
	return s
}

func (s *space) good() time.Duration {
	if s.err != nil {
		return failedFor
	}
	return max(goodFor, goodPerSpent*s.spent)
}

// fail keeps an error, so that the same is not tried again at once. A
// namespace that has gone is none.
func (s *space) fail(err error) error {
	if errors.Is(err, errGone) {
		return nil
	}
	s.err = err
	return err
}

// spend reads something and counts how long it takes.
func (s *space) spend(read func() error) error {
	if s.spent > spendAtMost {
		return fmt.Errorf("the rules take longer than %v to read", spendAtMost)
	}
	start := time.Now()
	defer func() { s.spent += time.Since(start) }()
	return read()
}

// answer asks the rules of the hook, and IPVS. again reports whether the answer
// holds for the next packet like this.
func (s *space) answer(q *Question) (a *Answer, again bool, err error) {
	var found []candidate
	srcPort := false
	if q.Hook != "" {
		bases, err := s.bases(q)
		if err != nil {
			return nil, false, err
		}
		if found, srcPort, err = findCandidates(q, bases); err != nil {
			return nil, false, err
		}
	}
	a, counted := choose(found)
	service, err := s.askIPVS(q)
	switch {
	case err != nil:
		return nil, false, err
	case service == nil:
	case a == nil:
		a = service
	default:
		a = &Answer{Name: fmt.Sprintf("one of %d rules or IPVS", len(found))}
	}
	return a, !srcPort && !counted, nil
}

// askIPVS asks the services of IPVS, which rewrites at INPUT and OUTPUT, where
// nothing sees it do so.
func (s *space) askIPVS(q *Question) (*Answer, error) {
	if q.Deed != DNAT || q.Seen {
		return nil, nil
	}
	if !s.ipvsRead {
		err := s.spend(func() error {
			text, err := s.readFile("ip_vs")
			if err == nil {
				s.ipvs, err = parseIPVS(bytes.NewReader(text))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		s.ipvsRead = true
	}
	return answerIPVS(q, s.ipvs), nil
}

// monotonic is the clock of events.
func monotonic() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
