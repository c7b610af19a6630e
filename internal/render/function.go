package render

import (
	"fmt"
	"strings"
)

// A function of netfilter that let the packet be is told together with those
// around it: which tables it went through in one hook, in one line.

// passes reports whether a hop is in netfilter, and nothing more happened there.
func passes(h *Hop) bool {
	if h.Layer != "netfilter" || h.Change != nil || h.Drop != nil {
		return false
	}
	return h.Verdict == "" || h.Verdict == "accept"
}

// passedText names what a hop that passes is, "" for a hook itself.
func passedText(h *Hop) string {
	switch {
	case h.Table != nil:
		return tableText(h.Table)
	case h.CTState != "":
		return "conntrack: " + h.CTState
	case h.Hop == "hook":
		return ""
	}
	return h.Hop
}

func tableText(t *Table) string {
	s := t.Tool
	for _, part := range []string{t.Family, t.Name, t.Chain} {
		if part != "" {
			s += " " + printable(part)
		}
	}
	return s
}

// functionText says in one phrase what a kernel function told; "" if the name
// of the hop says all.
func functionText(h *Hop) string {
	switch {
	case h.Hop == "bridge-nf" && h.Verdict == "accept":
		return "not handed to iptables: bridge-nf-call-iptables is off"
	case h.Hop == "bridge-nf":
		return "handed to iptables"
	case h.Waits != nil:
		return fmt.Sprintf("waits for the address of %s on %s (%s)", h.Waits.Addr, printable(h.Waits.Dev), h.Waits.State)
	case h.Layer == "device":
		return viaText(h)
	case h.Route != nil:
		return routeText(h.Route)
	case h.Hop == "ipvs-schedule" && h.Verdict == "failed":
		return "no real server"
	case h.Verdict != "" && h.Verdict != "accept" && h.Verdict != "ok":
		return strings.TrimSpace(passedText(h) + " " + h.Verdict)
	case h.Layer == "netfilter":
		return passedText(h)
	}
	return ""
}

// viaText names the gateway where a packet is handed to the device of its route.
func viaText(h *Hop) string {
	if h.Route == nil || h.Route.Dev != h.Dev || h.Route.Gateway == "" {
		return ""
	}
	return "via " + h.Route.Gateway
}

func routeText(r *Route) string {
	if r.Error != "" {
		return r.Error
	}
	s := "→ " + printable(r.Dev)
	if r.Gateway != "" {
		s += " via " + r.Gateway
	}
	return s
}
