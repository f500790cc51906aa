/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM pmap_inval

#if !defined(_TRACE_PMAP_INVAL_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_PMAP_INVAL_H

#include <linux/cpumask.h>
#include <linux/mm_types.h>
#include <linux/tracepoint.h>

#include <asm/pmap_inval.h>

TRACE_DEFINE_ENUM(PMAP_INVAL_PRECISE);
TRACE_DEFINE_ENUM(PMAP_INVAL_RANGE);
TRACE_DEFINE_ENUM(PMAP_INVAL_ASKED);
TRACE_DEFINE_ENUM(PMAP_INVAL_OVERFLOW);
TRACE_DEFINE_ENUM(PMAP_INVAL_CEILING);
TRACE_DEFINE_ENUM(PMAP_INVAL_GAP);

#define show_pmap_inval_why(why)			\
	__print_symbolic(why,				\
		{ PMAP_INVAL_PRECISE,	"precise" },	\
		{ PMAP_INVAL_RANGE,	"range" },	\
		{ PMAP_INVAL_ASKED,	"full:asked" },	\
		{ PMAP_INVAL_OVERFLOW,	"full:overflow" }, \
		{ PMAP_INVAL_CEILING,	"full:ceiling" }, \
		{ PMAP_INVAL_GAP,	"full:gap" })

/*
 * A flush of @mm begins on its initiator: @cpus may have to take part,
 * @pages of @runs are to be invalidated (-1 for a full flush).
 */
TRACE_EVENT(pmap_inval_flush,

	TP_PROTO(const struct mm_struct *mm, u64 tlb_gen,
		 const struct cpumask *cpus, unsigned int runs,
		 unsigned long pages, bool tables, int why),

	TP_ARGS(mm, tlb_gen, cpus, runs, pages, tables, why),

	TP_STRUCT__entry(
		__field(const void *, mm)
		__field(u64, tlb_gen)
		__field(unsigned long, pages)
		__field(unsigned int, runs)
		__field(bool, tables)
		__field(int, why)
		__cpumask(cpus)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->tlb_gen = tlb_gen;
		__entry->pages = pages;
		__entry->runs = runs;
		__entry->tables = tables;
		__entry->why = why;
		__assign_cpumask(cpus, cpumask_bits(cpus));
	),

	TP_printk("mm=%p gen=%llu cpus=%s runs=%u pages=%ld tables=%d %s",
		  __entry->mm, __entry->tlb_gen, __get_cpumask(cpus),
		  __entry->runs, __entry->pages, __entry->tables,
		  show_pmap_inval_why(__entry->why))
);

/*
 * This CPU has caught up with @mm from one generation to another, and has
 * invalidated @pages for that (-1 for everything).
 */
TRACE_EVENT(pmap_inval_catchup,

	TP_PROTO(const struct mm_struct *mm, u64 from, u64 to,
		 unsigned long pages, bool local, int why),

	TP_ARGS(mm, from, to, pages, local, why),

	TP_STRUCT__entry(
		__field(const void *, mm)
		__field(u64, from)
		__field(u64, to)
		__field(unsigned long, pages)
		__field(bool, local)
		__field(int, why)
	),

	TP_fast_assign(
		__entry->mm = mm;
		__entry->from = from;
		__entry->to = to;
		__entry->pages = pages;
		__entry->local = local;
		__entry->why = why;
	),

	TP_printk("mm=%p gen=%llu..%llu pages=%ld %s %s",
		  __entry->mm, __entry->from, __entry->to, __entry->pages,
		  __entry->local ? "local" : "remote",
		  show_pmap_inval_why(__entry->why))
);

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH asm/trace/
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE pmap_inval
#endif /* _TRACE_PMAP_INVAL_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
