package nodestate

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/dnspath/dnspath/tracer"
	"github.com/dnspath/dnspath/tracer/diagnose"
)

// attr is a netlink attribute.
func attr(number uint16, values ...[]byte) []byte {
	value := slices.Concat(values...)
	b := binary.NativeEndian.AppendUint16(nil, uint16(unix.NLA_HDRLEN+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, number), value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

func be16(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
func be32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
func ne32(n ...uint32) (b []byte) {
	for _, v := range n {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

func FuzzMessages(f *testing.F) {
	f.Add(slices.Concat(make([]byte, 4), attr(1, attr(1, []byte{10, 0, 0, 1})), attr(7, be32(9))))
	f.Add(slices.Concat(make([]byte, diagLen), attr(7, ne32(1, 2, 3, 4, 5, 6, 7, 8, 9))))
	f.Add([]byte{0, 0, 0, 0, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, message []byte) {
		size := 0
		for _, value := range attributes(message, 4) {
			size += unix.NLA_HDRLEN + len(value)
		}
		if size > len(message) {
			t.Errorf("%d bytes of attributes in %d", size, len(message))
		}
		parseEntry(message)
		parseSocket(message)
		parseQdisc(message)
		parseFeatures(message)
		bridgeCalls(message)
		addConntrackStats(map[string]uint64{}, message)
	})
}

func TestParseEntry(t *testing.T) {
	tuple := func(number uint16, src, dst string, from, to uint16) []byte {
		a, b := netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice()
		first := uint16(1)
		if len(a) == 16 {
			first = 3
		}
		return attr(number|unix.NLA_F_NESTED, attr(1, attr(first, a), attr(first+1, b)), attr(2, attr(1, []byte{17}), attr(2, be16(from)), attr(3, be16(to))))
	}
	message := slices.Concat(make([]byte, 4),
		tuple(1, "10.244.1.10", "10.96.0.10", 41522, 53), tuple(2, "10.244.2.53", "10.244.1.10", 53, 41522), attr(3, be32(1<<3)), attr(7, be32(29)))
	got, ok := parseEntry(message)
	flow := func(src, dst string) tracer.Flow {
		return tracer.Flow{Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
	}
	want := diagnose.ConntrackEntry{
		Transport: tracer.TransportUDP, Orig: flow("10.244.1.10:41522", "10.96.0.10:53"), Reply: flow("10.244.2.53:53", "10.244.1.10:41522"),
		Unreplied: true, Timeout: 29e9,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" || !ok {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	got, ok = parseEntry(slices.Concat(make([]byte, 4), tuple(1, "fd00::1", "fd00::53", 1, 53), attr(3, be32(seenReply))))
	if !ok || got.Unreplied || got.Orig != flow("[fd00::1]:1", "[fd00::53]:53") {
		t.Errorf("over IPv6 got %+v", got)
	}
	if got, ok := parseEntry(slices.Concat(make([]byte, 4), attr(1, attr(2, attr(1, []byte{unix.IPPROTO_ICMP}))))); ok {
		t.Errorf("ICMP gave %+v", got)
	}
}

func TestParseSocket(t *testing.T) {
	message := make([]byte, diagLen)
	message[diagFamily], message[diagState] = unix.AF_INET, stateClose
	copy(message[diagPort:], be16(53))
	copy(message[diagSource:], []byte{10, 244, 1, 53})
	copy(message[diagReceive:], ne32(700))
	copy(message[diagInode:], ne32(1234))
	message = append(message, attr(diagMemory, ne32(700, 4608, 0, 0, 0, 0, 0, 0, 5))...)
	want := socket{Socket: diagnose.Socket{Addr: dnsServer, Queue: 700, Buffer: 4608, Drops: 5}, inode: 1234}
	if got, ok := parseSocket(message); !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	old := message[:len(message)-4] // a kernel that does not count drops
	binary.NativeEndian.PutUint16(old[diagLen:], uint16(len(old)-diagLen))
	if got, ok := parseSocket(old); !ok || got.Buffer != 4608 || got.Drops != 0 {
		t.Errorf("without drops got %+v", got)
	}
	message[diagState] = stateListen
	copy(message[diagSend:], ne32(128))
	if got, _ := parseSocket(message); got.Buffer != 128 || got.Drops != 0 {
		t.Errorf("one that listens gave %+v", got)
	}
}

var dnsServer = netip.MustParseAddrPort("10.244.1.53:53")

func TestParseResolver(t *testing.T) {
	got, err := parseResolver(strings.NewReader("# x\nnameserver 10.96.0.10\nnameserver nonsense\nsearch a.test\noptions timeout:1 ndots:5\n"))
	want := &diagnose.Resolver{Nameservers: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, Search: []string{"a.test"}, NDots: 5}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" || err != nil {
		t.Errorf("%v; resolver (-want +got):\n%s", err, diff)
	}
	if got, err := parseResolver(strings.NewReader("")); err != nil || got.NDots != 1 || len(got.Nameservers) != 0 {
		t.Errorf("an empty file gave %+v, %v", got, err)
	}
}

func TestSocketInode(t *testing.T) {
	for link, want := range map[string]uint32{"socket:[12345]": 12345, "pipe:[1]": 0, "socket:[x]": 0, "": 0, "/tmp/socket:[1]": 0} {
		if got, ok := socketInode(link); got != want || ok != (want != 0) {
			t.Errorf("%q gave %d, %v", link, got, ok)
		}
	}
}

func TestFeatureBits(t *testing.T) {
	names := map[string]uint{"low": 0, "high": 33, "beyond": 64}
	want := map[string]bool{"low": true, "high": true, "beyond": false}
	if diff := cmp.Diff(want, featuresOf(names, ne32(1, 2))); diff != "" {
		t.Errorf("features (-want +got):\n%s", diff)
	}
	if featuresOf(names, nil) != nil {
		t.Error("a device that says nothing has features")
	}
}
