package render

import "fmt"

// A function of netfilter that let the packet be is told together with those
// around it: which tables it went through in one hook, in one line.

// passes reports whether a hop is in netfilter, and nothing more happened there.
func passes(h *Hop) bool {
	if h.Layer != "netfilter" || h.Change != nil || h.Drop != nil || brokenText(h) != "" {
		return false
	}
	// What a hook refuses, the drop that follows tells.
	return h.Verdict == "" || h.Verdict == "accept" || h.Hop == "hook"
}

// resumes reports whether a hook that the packet was taken out of is one that
// it had passed on the bridge, earlier in the same namespace: br_netfilter then
// passes it on itself (net/bridge/br_netfilter_hooks.c, ip_sabotage_in).
func resumes(hops []Hop, i int) bool {
	if hops[i].Verdict != "stolen" || hops[i].Hook != "PREROUTING" {
		return false
	}
	for j := i - 1; j >= 0 && hops[j].NetNS == hops[i].NetNS; j-- {
		if hops[j].Hop == "bridge-nf" {
			return hops[j].Verdict == "stolen"
		}
	}
	return false
}

// passedText names what a hop that passes is, "" for a hook itself.
func passedText(h *Hop) string {
	switch {
	case h.Table != nil:
		return tableText(h.Table)
	case h.CTState != "":
		return "conntrack: " + h.CTState
	case h.Hop == "hook" && h.Verdict == "stolen":
		return "stolen or queued by one of its functions"
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

// named are the layers whose hops several functions make: the text names which.
var named = map[string]bool{"bridge": true, "ip": true, "ipvs": true, "tunnel": true}

// functionText says in one phrase what a kernel function told; "" if the name
// of the hop says all.
func functionText(h *Hop) string {
	switch {
	case h.Hop == "bridge-nf" && h.Verdict == "accept":
		return "not handed to iptables: bridge-nf-call-iptables is off"
	case h.Hop == "bridge-nf":
		return "handed to iptables"
	case h.Waits != nil:
		return fmt.Sprintf("waits for the link-layer address of %s on %s", h.Waits.Addr, printable(h.Waits.Dev))
	case h.Layer == "device":
		return viaText(h)
	case h.Route != nil:
		return routeText(h.Route)
	case h.Hop == "ipvs-schedule" && h.Verdict == "failed":
		return "no real server"
	case passes(h):
		return passedText(h)
	case h.Verdict != "" && h.Verdict != "accept" && h.Verdict != "ok":
		return passedText(h) + ": " + h.Verdict
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
