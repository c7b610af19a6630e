package rules

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/internal/kernel"
)

// Reader reads the rules of network namespaces and answers questions about
// them. It is safe for concurrent use.
type Reader struct {
	path func(inode uint32) string
	keep time.Duration

	mu     sync.Mutex // held while something is read
	spaces map[uint32]history
	have   haveNFTables
}

// NewReader returns a Reader. path returns what setns accepts for a namespace,
// or nothing if that has gone. What was read is kept for questions about things
// that happened up to keep ago.
func NewReader(path func(inode uint32) string, keep time.Duration) *Reader {
	return &Reader{path: path, keep: keep, spaces: map[uint32]history{}}
}

// How long what was read of a namespace is good: a second, and twenty times as
// long as it took, so that reading never costs more than a twentieth of a
// processor. Where the kernel says that its rules have changed since, and a verdict
// hangs on it, twice as long as it took. What could not be read is left alone for
// longer.
const (
	goodFor      = time.Second
	goodPerSpent = 20
	oldPerSpent  = 2
	failedFor    = 30 * time.Second
	spendAtMost  = 4 * time.Second
)

// maxSpaces bounds how many namespaces are remembered, maxHistory how often each.
const (
	maxSpaces  = 512
	maxHistory = 16
)

// space is what was read of one namespace, and what was answered from it.
type space struct {
	namespace
	nftables bool // this kernel has them
	born     time.Time
	bornAt   uint64 // the same, ns of CLOCK_MONOTONIC
	version  uint32 // of nftables' rules then; 0: not known
	spent    time.Duration
	err      error

	live     liveTables
	saved    map[string]savedTables // by program and table
	legacy   map[string][]string    // names of iptables' own tables, by the file that has them
	ipvs     []ipvsService
	ipvsRead bool
	ipvsCut  bool // services may be missing: see readWhole
	services map[ServiceQuery]*Service
	attached map[Device][]string
	answers  map[memo]*Answer
	foreseen map[memo]bool
}

// Device is a place where programs are attached.
type Device struct {
	Ifindex uint32
	Place   kernel.Place
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
	r.mu.Lock()
	defer r.mu.Unlock()
	before, after := r.spaces[netns].around(q.Time)
	if after != nil {
		a, err := after.ask(q)
		if !errors.Is(err, errLate) {
			return before.agree(q, a), err
		}
	}
	a, s, err := r.askNow(netns, q)
	if errors.Is(err, errLate) { // it grew old since it was taken for new
		a, s, err = r.askNow(netns, q)
	}
	if s != nil && s != before && err == nil {
		a = before.agree(q, a)
	}
	return a, err
}

// askNow answers from rules as they are now, and returns where from; nil if the
// namespace has gone.
func (r *Reader) askNow(netns uint32, q *Question) (*Answer, *space, error) {
	s := r.current(netns)
	if s == nil {
		return nil, nil, nil
	}
	a, err := s.ask(q)
	return a, s, err
}

// Foresee reads what a question will take that is still to be asked, so that
// Ask answers from rules as they are now. It reports whether nothing is left to
// do: what it had was read after the question's time.
func (r *Reader) Foresee(netns uint32, q *Question) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.current(netns)
	if s == nil || s.err != nil {
		return true
	}
	s.foresee(q)
	return s.bornAt >= q.Time
}

// Attached returns the programs of a device in words; see kernel.Attached. They
// are those of soon after the given time, ns of CLOCK_MONOTONIC, if Foresee
// asked for them.
func (r *Reader) Attached(netns uint32, d Device, at uint64) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, s := r.spaces[netns].around(at); s != nil {
		if names, ok := s.attached[d]; ok {
			return names, nil
		}
	}
	s := r.current(netns)
	if s == nil || s.err != nil {
		return nil, spaceError(s)
	}
	return s.programs(d)
}

func spaceError(s *space) error {
	if s == nil {
		return nil
	}
	return s.err
}

// ask answers from what was read, and reads what is missing.
func (s *space) ask(q *Question) (*Answer, error) {
	if s.err != nil && q.Hook != "" { // else no rule is asked: IPVS may answer
		return nil, s.err
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

func (s *space) programs(d Device) ([]string, error) {
	if names, ok := s.attached[d]; ok {
		return names, nil
	}
	var names []string
	err := s.spend(func() (err error) {
		names, err = kernel.Attached(kernel.Namespace{Inode: s.inode, Path: s.path}, int(d.Ifindex), d.Place)
		return err
	})
	if err != nil {
		return nil, s.fail(err)
	}
	s.attached[d] = names
	return names, nil
}

// current returns what is known of a namespace as it is now, anew if that is
// old; nil if the namespace has gone.
func (r *Reader) current(netns uint32) *space {
	now := time.Now()
	h := r.spaces[netns]
	if s := h.last(); s != nil && now.Sub(s.born) < s.good() {
		return s
	}
	return r.anew(netns, now)
}

// upToDate is current, and anew too if the rules have changed since.
func (r *Reader) upToDate(netns uint32) *space {
	s := r.current(netns)
	if s == nil || s.err != nil || time.Since(s.born) < oldPerSpent*s.spent || s.version == s.askVersion() {
		return s
	}
	return r.anew(netns, time.Now())
}

// anew begins to read a namespace; nil if that has gone.
func (r *Reader) anew(netns uint32, now time.Time) *space {
	h := r.spaces[netns]
	path := r.path(netns)
	if netns == 0 || path == "" {
		return nil
	}
	if len(r.spaces) >= maxSpaces {
		maps.DeleteFunc(r.spaces, func(_ uint32, h history) bool { return now.Sub(h.last().born) >= h.last().good()+r.keep })
	}
	nftables := r.have.ask(now) // takes its time, once
	s := &space{
		namespace: namespace{netns, path}, nftables: nftables, born: time.Now(), bornAt: monotonic(),
		live: newLiveTables(), saved: map[string]savedTables{}, legacy: map[string][]string{},
		attached: map[Device][]string{}, answers: map[memo]*Answer{}, foreseen: map[memo]bool{}, services: map[ServiceQuery]*Service{},
	}
	s.version = s.askVersion()
	r.spaces[netns] = h.add(s, r.keep)
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
	if errors.Is(err, errLate) {
		return err
	}
	s.err = err
	return err
}

// errLate is returned for what was not read in time.
var errLate = errors.New("the rules were not read then")

// spend reads something and counts how long it takes.
func (s *space) spend(read func() error) error {
	if time.Since(s.born) >= s.good() {
		return errLate
	}
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
	if err := s.readIPVS(); err != nil {
		return nil, err
	}
	return answerIPVS(q, s.ipvs), nil
}

// readIPVS reads the services of IPVS.
func (s *space) readIPVS() error {
	if s.ipvsRead {
		return nil
	}
	err := s.spend(func() error {
		text, err := s.readFile("ip_vs")
		if err == nil {
			s.ipvs, err = parseIPVS(bytes.NewReader(text))
		}
		s.ipvsCut = len(text) >= os.Getpagesize()
		return err
	})
	s.ipvsRead = err == nil
	return err
}

// monotonic is the clock of events.
func monotonic() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
