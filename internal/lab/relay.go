package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Relay is the wire between the nodes of a lab with Config.Relay: this process
// carries each frame from one to the other. Nobody sees what it does to them, as
// nobody on a node sees what a network does. Its methods are safe for concurrent use.
type Relay struct {
	ends    [2]*os.File // the nodes' devices
	running sync.WaitGroup
	close   sync.Once
	err     error // of the first Close

	lose    atomic.Uint64                                     // which part of all frames: the bits of a float64
	only    atomic.Pointer[func(from int, frame []byte) bool] // which frames it loses besides
	carried atomic.Uint64
	dropped atomic.Uint64

	asks atomic.Uint64 // of those that were dropped: neighbours' questions and answers

	mu   sync.Mutex
	lost map[string]int // frames with a mixed lookup's name, by that
}

// addRelay makes the nodes' wire devices and carries what they send.
func (l *Lab) addRelay() error {
	r := &Relay{lost: map[string]int{}}
	l.onClose(r.Close)
	for i, node := range l.nodes() {
		var err error
		if r.ends[i], err = node.addTAP(WireDev); err != nil {
			return err
		}
	}
	for i := range r.ends {
		r.running.Go(func() { r.carry(i) })
	}
	l.Relay = r
	return nil
}

// addTAP makes a device whose frames are read from, and written to, the file. It
// goes when that is closed.
func (ns *NS) addTAP(dev string) (file *os.File, err error) {
	err = ns.Do(func() error { // the device is in the namespace of who opens
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return notSupported("tap devices", "CONFIG_TUN")
		}
		if err != nil {
			return fmt.Errorf("open tap device: %w", err)
		}
		req, err := unix.NewIfreq(dev)
		if err == nil {
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("add tap device %s in %s: %w", dev, ns.Name, err), unix.Close(fd))
		}
		file = os.NewFile(uintptr(fd), dev) // of its own accord it waits without a thread
		return nil
	})
	return file, err
}

// Lose has the wire lose a part of all frames, 0 to 1, at random.
func (r *Relay) Lose(part float64) { r.lose.Store(math.Float64bits(part)) }

// Counts returns how many frames came, and how many of them were lost.
func (r *Relay) Counts() (came, lost uint64) { return r.carried.Load(), r.dropped.Load() }

// Lost reports whether a packet of a mixed lookup was lost that has its name: a
// message, and no later fragment of one, nor a segment without data.
func (r *Relay) Lost(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost[name] > 0
}

// LostAsks reports whether a packet was lost by which neighbours find each other.
func (r *Relay) LostAsks() bool { return r.asks.Load() > 0 }

// LoseFrom has the wire lose the IPv4 packets of so many bytes and more that a node
// sends, the first (0) or the second (1). Neighbours find each other still.
func (r *Relay) LoseFrom(node, size int) {
	loses := func(from int, frame []byte) bool {
		const header = 14 // of Ethernet
		return from == node && len(frame) >= header+size && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IP
	}
	r.only.Store(&loses)
}

// LoseNothing has the wire lose nothing any more.
func (r *Relay) LoseNothing() {
	r.only.Store(nil)
	r.Lose(0)
}

// carry writes what comes from one end to the other.
func (r *Relay) carry(end int) {
	from, to := r.ends[end], r.ends[1-end]
	frame := make([]byte, 1<<16)
	for {
		n, err := from.Read(frame)
		if err != nil {
			return // closed, or its namespace is gone
		}
		r.carried.Add(1)
		only := r.only.Load()
		if rand.Float64() < math.Float64frombits(r.lose.Load()) || only != nil && (*only)(end, frame[:n]) {
			r.drop(frame[:n])
			continue
		}
		_, _ = to.Write(frame[:n]) // as a wire: what the other end does not take is gone
	}
}

// drop notes what a frame was that is lost.
func (r *Relay) drop(frame []byte) {
	r.dropped.Add(1)
	if isAsk(frame) {
		r.asks.Add(1)
	}
	if name := mixedName(frame); name != "" {
		r.mu.Lock()
		r.lost[name]++
		r.mu.Unlock()
	}
}

// isAsk reports whether a frame is ARP, or neighbour discovery (RFC 4861 section 4).
func isAsk(frame []byte) bool {
	const (
		header       = 14 // of Ethernet
		nextHeader   = header + 6
		icmp6        = header + 40
		solicitation = 135
	)
	if len(frame) <= header {
		return false
	}
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_ARP:
		return true
	case unix.ETH_P_IPV6:
		return len(frame) > icmp6 && frame[nextHeader] == unix.IPPROTO_ICMPV6 && (frame[icmp6] == solicitation || frame[icmp6] == solicitation+1)
	}
	return false
}

// mixedWire finds the name of a mixed lookup in a packet, as it is in messages
// (RFC 1035 section 3.1), up to mixedZone.
var mixedWire = regexp.MustCompile(`((?:[\x01-\x3f][a-z0-9]+)+)\x05mixed\x07example\x04test\x00`)

// mixedName returns the name of the mixed lookup that a packet is of, whatever
// tunnels it is in; "" if it has none.
func mixedName(packet []byte) string {
	found := mixedWire.FindSubmatch(packet)
	if found == nil {
		return ""
	}
	var name strings.Builder
	for labels := found[1]; len(labels) > 0; {
		n := int(labels[0])
		if n >= len(labels) {
			return ""
		}
		name.Write(labels[1 : 1+n])
		name.WriteByte('.')
		labels = labels[1+n:]
	}
	return name.String() + mixedZone
}

// Close takes both devices away. Closing twice is no error.
func (r *Relay) Close() error {
	r.close.Do(func() {
		var errs []error
		for _, end := range r.ends {
			if end != nil {
				errs = append(errs, end.Close())
			}
		}
		r.running.Wait()
		r.err = errors.Join(errs...)
	})
	return r.err
}
