/* SPDX-License-Identifier: GPL-2.0 */
/*
 * CPU rendezvous.
 *
 * cpusync_simple()	 - run a function on a set of CPUs: one kick, no hold.
 *
 * cpusync_init()	 - prepare a hold.
 * cpusync_interlock()	 - bring CPUs to a halt, or say that they would not come.
 *			   Again with more CPUs: only the new ones are kicked.
 * cpusync_deinterlock() - all of them run the function, then go on.
 *
 * Whoever holds CPUs needs a correct way to go on without: cpusync_interlock()
 * gives up after a while, since that is all that keeps it from a deadlock.
 *
 * The name and the verbs are DragonFly BSD's (M. Dillon, 2004); the
 * implementation is new. See kernel/cpusync.c for the rules and
 * Documentation/core-api/cpusync.rst for how to use it.
 */
#ifndef _LINUX_CPUSYNC_H
#define _LINUX_CPUSYNC_H

#include <linux/cpumask_types.h>
#include <linux/smp.h>

struct cpusync_request;

/**
 * enum cpusync_why - why a hold was given up
 * @CPUSYNC_ABSENT: CPUs have not taken notice in time
 * @CPUSYNC_LEFT: they have, but were not all there at once: they went, having
 *		  waited long enough for this or another initiator. Or the
 *		  initiator was held itself when they were
 * @CPUSYNC_OOPS: somebody oopses, or CPUs have left for that
 */
enum cpusync_why {
	CPUSYNC_ABSENT,
	CPUSYNC_LEFT,
	CPUSYNC_OOPS,
	/* private: */
	CPUSYNC_NR_WHY
};

/**
 * struct cpusync - a hold, seen by who asks for it
 * @func: what everybody runs when the hold ends
 * @info: its argument. May be changed before cpusync_deinterlock(), and has to
 *	  last until that returns
 * @cond: asked on the calling CPU for each CPU that is to be held, with @info;
 *	  NULL: all of them
 * @request: NULL unless CPUs are held
 * @self: does the calling CPU run @func as well?
 * @begin: when the first kick was sent
 * @held: when the first commit was
 * @flags: interrupt state of the caller
 *
 * Lives on the caller's stack, which no kick can reach.
 */
struct cpusync {
	smp_call_func_t		func;
	void			*info;
	smp_cond_func_t		cond;
	struct cpusync_request	*request;
	bool			self;
	u64			begin;
	u64			held;
	unsigned long		flags;
};

void cpusync_simple(const struct cpumask *mask, smp_cond_func_t cond,
		    smp_call_func_t func, void *info);

/**
 * cpusync_init() - prepare a hold
 * @cs: the hold
 * @cond: which CPUs to hold, see &struct cpusync
 * @func: what everybody runs when it ends: with interrupts off, mostly in
 *	  interrupt context, must be fast, must not sleep
 * @info: argument of @cond and @func
 *
 * Costs nothing and sends nothing.
 */
static inline void cpusync_init(struct cpusync *cs, smp_cond_func_t cond,
				smp_call_func_t func, void *info)
{
	*cs = (struct cpusync) { .func = func, .info = info, .cond = cond };
}

int cpusync_interlock(struct cpusync *cs, const struct cpumask *mask);
int cpusync_deinterlock(struct cpusync *cs);
const struct cpumask *cpusync_held_mask(const struct cpusync *cs);
bool cpusync_this_cpu_held(void);
bool cpusync_oopsed(void);

/* Does @cs hold CPUs? */
static inline bool cpusync_held(const struct cpusync *cs)
{
	return cs->request;
}

#endif /* _LINUX_CPUSYNC_H */
