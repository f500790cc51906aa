/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM cpusync

#if !defined(_TRACE_CPUSYNC_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_CPUSYNC_H

#include <linux/cpumask.h>
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
 * A hold of @cpus has ended, or was given up. Emitted after the fact: nothing
 * may be traced while CPUs are held. @result is the number of CPUs that left
 * early because of an oops, or an error.
 */
TRACE_EVENT(cpusync_hold,

	TP_PROTO(smp_call_func_t func, const struct cpumask *cpus, u64 wait_ns,
		 u64 hold_ns, int result),

	TP_ARGS(func, cpus, wait_ns, hold_ns, result),

	TP_STRUCT__entry(
		__field(void *, func)
		__field(u64, wait_ns)
		__field(u64, hold_ns)
		__field(int, result)
		__cpumask(cpus)
	),

	TP_fast_assign(
		__entry->func = func;
		__entry->wait_ns = wait_ns;
		__entry->hold_ns = hold_ns;
		__entry->result = result;
		__assign_cpumask(cpus, cpumask_bits(cpus));
	),

	TP_printk("func=%ps cpus=%s wait_ns=%llu hold_ns=%llu result=%d",
		  __entry->func, __get_cpumask(cpus), __entry->wait_ns,
		  __entry->hold_ns, __entry->result)
);

#endif /* _TRACE_CPUSYNC_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
