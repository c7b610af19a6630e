/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is lost is counted. */
#ifndef DNSPATH_LOSS_H
#define DNSPATH_LOSS_H

#include "event.h"

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

static __always_inline void count_loss(__u32 kind)
{
	__u64 *n = bpf_map_lookup_elem(&lost, &kind);

	if (n)
		(*n)++;
}

#endif
