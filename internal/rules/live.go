package rules

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// liveTables is what was read of nftables so far. A space is a nftSource.
type liveTables struct {
	chains   []*nftables.Chain
	read     bool
	rules    map[tablePart][]*nftables.Rule
	elements map[tablePart][]nftables.SetElement
	listed   map[tablePart]string
	mute     bool // nft did not print a chain; it is not asked again
}

// tablePart is a chain or set of a table.
type tablePart struct {
	family nftables.TableFamily
	table  string
	name   string
}

func partOf(t *nftables.Table, name string) tablePart { return tablePart{t.Family, t.Name, name} }

func newLiveTables() liveTables {
	return liveTables{
		rules: map[tablePart][]*nftables.Rule{}, elements: map[tablePart][]nftables.SetElement{}, listed: map[tablePart]string{},
	}
}

// connect opens netlink in the namespace for one request.
func (s *space) connect(ask func(*nftables.Conn) error) error {
	return s.spend(func() error {
		handle, err := s.open()
		if err != nil {
			return err
		}
		defer handle.Close()
		conn, err := nftables.New(nftables.WithNetNSFd(int(handle)), nftables.WithSockOptions(func(c *netlink.Conn) error {
			return c.SetDeadline(time.Now().Add(commandLimit))
		}))
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		return decode(func() error { return ask(conn) })
	})
}

// askVersion returns the generation of the namespace's nftables rules, which each
// change of them raises (NFT_MSG_GETGEN, net/netfilter/nf_tables_api.c; iptables-nft
// has its rules there too); 0 if it is not known. It takes some ten microseconds.
func (s *space) askVersion() uint32 {
	if !s.nftables {
		return 0
	}
	handle, err := s.open()
	if err != nil {
		return 0
	}
	defer handle.Close()
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: int(handle)})
	if err != nil {
		return 0
	}
	defer conn.Close()
	answers, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0}, // struct nfgenmsg
	})
	const header = 4 // its length
	if err != nil || len(answers) == 0 || len(answers[0].Data) < header {
		return 0
	}
	version := uint32(0)
	attrs, err := netlink.NewAttributeDecoder(answers[0].Data[header:])
	if err != nil {
		return 0
	}
	attrs.ByteOrder = binary.BigEndian
	for attrs.Next() {
		if attrs.Type() == unix.NFTA_GEN_ID {
			version = attrs.Uint32()
		}
	}
	return version
}

// decode calls read, and makes an error of its panic: the library trusts the
// lengths in user data, which belongs to whoever owns the namespace.
func decode(read func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decode rules: %v", p)
		}
	}()
	return read()
}

// chains returns all chains of nftables.
func (s *space) chains() ([]*nftables.Chain, error) {
	if s.live.read {
		return s.live.chains, nil
	}
	err := s.connect(func(c *nftables.Conn) (err error) {
		s.live.chains, err = c.ListChains()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list chains of nftables: %w", err)
	}
	s.live.read = true
	return s.live.chains, nil
}

// Rules returns those of a chain.
func (s *space) Rules(t *nftables.Table, chain string) ([]*nftables.Rule, error) {
	part := partOf(t, chain)
	if rules, ok := s.live.rules[part]; ok {
		return rules, nil
	}
	err := s.connect(func(c *nftables.Conn) (err error) {
		s.live.rules[part], err = c.GetRules(t, &nftables.Chain{Name: chain, Table: t})
		return err
	})
	return s.live.rules[part], err
}

// Elements returns those of a set or map.
func (s *space) Elements(t *nftables.Table, set string) ([]nftables.SetElement, error) {
	part := partOf(t, set)
	if elements, ok := s.live.elements[part]; ok {
		return elements, nil
	}
	err := s.connect(func(c *nftables.Conn) (err error) {
		s.live.elements[part], err = c.GetSetElements(&nftables.Set{Name: set, Table: t})
		return err
	})
	return s.live.elements[part], err
}

// plainName is what nft takes for a name without quotes. It reads its arguments
// as one text, and who made the table may have put commands into its name.
var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*$`)

// List returns what "nft -a list chain" prints. Without that a rule has no text.
func (s *space) List(t *nftables.Table, chain string) string {
	part := partOf(t, chain)
	if text, ok := s.live.listed[part]; ok || s.live.mute || !plainName.MatchString(t.Name) || !plainName.MatchString(chain) {
		return text
	}
	program := findProgram("nft")
	if program == "" {
		return ""
	}
	err := s.spend(func() error {
		out, err := s.run(program, "-a", "list", "chain", familyName(t.Family), t.Name, chain)
		s.live.listed[part] = string(out)
		return err
	})
	s.live.mute = err != nil
	return s.live.listed[part]
}

// Since is when reading began.
func (s *space) Since() uint64 { return s.bornAt }

// addrOnly leaves the port out.
func addrOnly(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 0) }
