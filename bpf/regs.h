/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The context of a kprobe: the registers, as the kernel lays them out for each
 * architecture (struct pt_regs; on arm64 struct user_pt_regs is its beginning,
 * and what programs may read). They are no subject of CO-RE.
 */
#ifndef DNSPATH_REGS_H
#define DNSPATH_REGS_H

#include "kernel.h"

#if defined(__TARGET_ARCH_x86)

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx;
	unsigned long r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};

#define REGS_ARG0(regs)	    ((regs)->di)
#define REGS_ARG1(regs)	    ((regs)->si)
#define REGS_ARG2(regs)	    ((regs)->dx)
#define REGS_ARG3(regs)	    ((regs)->cx)
#define REGS_RET(regs)	    ((regs)->ax)
#define REGS_SP(regs)	    ((regs)->sp)
/* The address of a probed function: the breakpoint that stood for its first byte has been passed. */
#define REGS_FUNCTION(regs) ((regs)->ip - 1)

#elif defined(__TARGET_ARCH_arm64)

struct pt_regs {
	unsigned long regs[31], sp, pc, pstate;
};

#define REGS_ARG0(r)	 ((r)->regs[0])
#define REGS_ARG1(r)	 ((r)->regs[1])
#define REGS_ARG2(r)	 ((r)->regs[2])
#define REGS_ARG3(r)	 ((r)->regs[3])
#define REGS_RET(r)	 ((r)->regs[0])
#define REGS_SP(r)	 ((r)->sp)
#define REGS_FUNCTION(r) ((r)->pc)

#else
#error "an architecture without its registers"
#endif

#endif
