// Package lab builds, in network namespaces, what looks like two Kubernetes
// nodes with pods, an overlay between the nodes and a cluster DNS service. Demos,
// tests and benchmarks run in it.
//
// Everything lives in one process tree with a mount namespace of its own (see
// [Isolate]): when that process ends, by whatever means, the kernel takes the
// whole lab away. Two labs in two processes do not meet; one process holds one
// lab at a time, since the namespaces have fixed names.
//
//	client 10.244.1.10   dns-a 10.244.1.53        dns-b 10.244.2.53
//	    eth0                 eth0                     eth0
//	      |                    |                        |
//	 veth-client            veth-dns               veth-dns
//	      +------- cni0 -------+                      cni0
//	            10.244.1.1                         10.244.2.1
//	 node-a     vxlan.calico ~~~~~~ VNI 4096 ~~~~~ vxlan.calico     node-b
//	            eth0 192.0.2.1 ------------------- eth0 192.0.2.2
//
// IPv6 mirrors it: 10.244.N.x is fd00:10:244:N::x, over the same IPv4 wire. The
// overlay may be IPIP (tunl0, without IPv6) or Geneve (geneve0) as well.
package lab
