/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cpusync

#if !defined(_TRACE_CPUSYNC_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_CPUSYNC_H

#include <linux/cpumask.h>
#include <linux/cpusync.h>
#include <linux/smp.h>
#include <linux/tracepoint.h>

/* The initiator is about to kick @cpus, which a condition may still reduce. */
TRACE_EVENT(cpusync_begin,

	TP_PROTO(smp_call_func_t func, const struct cpumask *cpus),

	TP_ARGS(func, cpus),

	TP_STRUCT__entry(
		__field(void *, func)
		__cpumask(cpus)
	),

	TP_fast_assign(
		__entry->func = func;
		__assign_cpumask(cpus, cpumask_bits(cpus));
	),

	TP_printk("func=%ps cpus=%s", __entry->func, __get_cpumask(cpus))
);

/* Every target has run the function: @ns after the matching cpusync_begin. */
TRACE_EVENT(cpusync_end,

	TP_PROTO(smp_call_func_t func, u64 ns),

	TP_ARGS(func, ns),

	TP_STRUCT__entry(
		__field(void *, func)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->func = func;
		__entry->ns = ns;
	),

	TP_printk("func=%ps ns=%llu", __entry->func, __entry->ns)
);

/*
 * A hold of @cpus has ended. Emitted after the fact: nothing may be traced while
 * CPUs are held. @lost is the number of CPUs that left early because of an oops.
 */
TRACE_EVENT(cpusync_hold,

	TP_PROTO(smp_call_func_t func, const struct cpumask *cpus, u64 wait_ns,
		 u64 hold_ns, unsigned int lost),

	TP_ARGS(func, cpus, wait_ns, hold_ns, lost),

	TP_STRUCT__entry(
		__field(void *, func)
		__field(u64, wait_ns)
		__field(u64, hold_ns)
		__field(unsigned int, lost)
		__cpumask(cpus)
	),

	TP_fast_assign(
		__entry->func = func;
		__entry->wait_ns = wait_ns;
		__entry->hold_ns = hold_ns;
		__entry->lost = lost;
		__assign_cpumask(cpus, cpumask_bits(cpus));
	),

	TP_printk("func=%ps cpus=%s wait_ns=%llu hold_ns=%llu lost=%u",
		  __entry->func, __get_cpumask(cpus), __entry->wait_ns,
		  __entry->hold_ns, __entry->lost)
);

TRACE_DEFINE_ENUM(CPUSYNC_ABSENT);
TRACE_DEFINE_ENUM(CPUSYNC_LEFT);
TRACE_DEFINE_ENUM(CPUSYNC_OOPS);

/*
 * A hold of @cpus was given up after @wait_ns, and nobody is held any more. Those
 * in @absent had not taken notice.
 */
TRACE_EVENT(cpusync_backout,

	TP_PROTO(smp_call_func_t func, const struct cpumask *cpus,
		 const struct cpumask *absent, u64 wait_ns, unsigned int why),

	TP_ARGS(func, cpus, absent, wait_ns, why),

	TP_STRUCT__entry(
		__field(void *, func)
		__field(u64, wait_ns)
		__field(unsigned int, why)
		__cpumask(cpus)
		__cpumask(absent)
	),

	TP_fast_assign(
		__entry->func = func;
		__entry->wait_ns = wait_ns;
		__entry->why = why;
		__assign_cpumask(cpus, cpumask_bits(cpus));
		__assign_cpumask(absent, cpumask_bits(absent));
	),

	TP_printk("func=%ps cpus=%s absent=%s wait_ns=%llu why=%s",
		  __entry->func, __get_cpumask(cpus), __get_cpumask(absent),
		  __entry->wait_ns,
		  __print_symbolic(__entry->why, { CPUSYNC_ABSENT, "absent" },
				   { CPUSYNC_LEFT, "left" },
				   { CPUSYNC_OOPS, "oops" }))
);

#endif /* _TRACE_CPUSYNC_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
