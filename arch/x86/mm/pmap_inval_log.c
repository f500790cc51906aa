// SPDX-License-Identifier: GPL-2.0
/*
 * What the latest TLB generations of an address space were about.
 *
 * mm->context.tlb_gen counts the flushes of an mm, and each CPU knows how far
 * it has come. What the ones were about that it has missed is gone, so it
 * throws away everything: when two flushes overlap, when it ran something else
 * during a single one, and whenever reclaim has touched the mm.
 *
 * Here the last PMAP_INVAL_LOG_SLOTS generations are remembered, one run of
 * translations each. Whoever is behind reads what is between and invalidates
 * that. A flush of n runs takes n generations.
 *
 * Invariants:
 *
 *  L1	A slot says what it says for one generation, the one in its tag. One
 *	that nobody has published, or that has been overwritten, is missing. A
 *	CPU never moves over a generation that is missing but by a full flush.
 *	So code that increments tlb_gen and knows nothing of the log is correct.
 *
 *  L2	Who has claimed a slot (PMAP_INVAL_BUSY) is the only one to write to it,
 *	until he publishes. A claimed slot is never taken over, however slow its
 *	owner is, since his stores would land under the new tag. Nor is one that
 *	has a newer tag. Then there is nothing published.
 *
 *  L3	For each generation that a CPU is behind while it runs the mm, the CPU
 *	has either invalidated all that this one is about, after it changed,
 *	or a kick for it is still to come. As in the base, from the order of
 *	tlb_gen, loaded_mm and is_lazy: see switch_mm_irqs_off().
 *
 *  L4	Nobody waits: neither for a slot nor for a generation.
 *
 * Barriers, where A publishes and B reads:
 *
 *  LOG:A / LOG:B  A stores the run, then the tag; B reads the tag, then the
 *		   run. B sees the run that the tag is about. (message passing)
 *  LOG:C / LOG:D  A claims the slot, then stores the run; B reads the run, then
 *		   the tag again. If B has read the new run, it sees the claim or
 *		   what came after it. (message passing, the other way round)
 *  LOG:E / LOG:F  A changes the page table, then increments tlb_gen; B reads
 *		   tlb_gen, then invalidates, which is serializing. Whatever B's
 *		   TLB is filled with from then on is from the changed page table.
 *		   As in the base, see flush_tlb_func().
 */

#include <linux/atomic.h>
#include <linux/build_bug.h>
#include <linux/cleanup.h>
#include <linux/mm_types.h>
#include <linux/mmu_context.h>
#include <linux/slab.h>

#include <asm/pmap_inval.h>
#include <asm/tlbflush.h>
#include <asm/trace/pmap_inval.h>

#include "mm_internal.h"

/*
 * What a CPU that is switched to an mm catches up with at the most: this is
 * done with interrupts off and a runqueue locked, and refilling a TLB is not.
 */
#define SWITCH_MAX	16

/* What an mm with several threads pays for it. */
static_assert(sizeof_field(struct pmap_inval_log, slot) == 1024);
static_assert(sizeof_field(struct pmap_inval_log, spans) == 64);

#ifdef CONFIG_DEBUG_PMAP_INVAL
static void debug_write(struct pmap_inval_log *log, u64 gen, u64 run,
			bool tables)
{
	unsigned int i = gen % ARRAY_SIZE(log->debug);

	guard(raw_spinlock_irqsave)(&log->debug_lock);
	if (log->debug[i].gen > gen)
		return;
	log->debug[i].gen = gen;
	log->debug[i].run = run;
	log->debug[i].tables = tables;
}

/* Has somebody found what was written, or is it gone for both? */
static void debug_found(struct pmap_inval_log *log, u64 gen, u64 run,
			bool tables)
{
	unsigned int i = gen % ARRAY_SIZE(log->debug);

	u64 had_gen, had_run;
	bool had_tables;

	scoped_guard(raw_spinlock_irqsave, &log->debug_lock) {
		had_gen = log->debug[i].gen;
		had_run = log->debug[i].run;
		had_tables = log->debug[i].tables;
	}
	WARN_ONCE(had_gen < gen, "generation %llu was found and never written\n",
		  gen);
	WARN_ONCE(had_gen == gen && (had_run != run || had_tables != tables),
		  "generation %llu was about %llx, and %llx was found\n",
		  gen, had_run, run);
}
#else
static inline void debug_write(struct pmap_inval_log *log, u64 gen, u64 run,
			       bool tables) { }
static inline void debug_found(struct pmap_inval_log *log, u64 gen, u64 run,
			       bool tables) { }
#endif

static struct kmem_cache *pmap_inval_log_cache __ro_after_init;

static int __init pmap_inval_log_init(void)
{
	pmap_inval_log_cache = KMEM_CACHE(pmap_inval_log, SLAB_HWCACHE_ALIGN |
					  SLAB_ACCOUNT | SLAB_PANIC);
	return 0;
}
core_initcall(pmap_inval_log_init);

/**
 * pmap_inval_alloc_log() - have an mm remember its generations
 * @mm: an mm that is about to have more than one thread
 *
 * An mm without a log is correct, and less precise. So a failure is ignored.
 *
 * Context: Process context. Sleeps.
 */
void pmap_inval_alloc_log(struct mm_struct *mm)
{
	struct pmap_inval_log *log;

	if (READ_ONCE(mm->context.inval_log))
		return;

	log = kmem_cache_zalloc(pmap_inval_log_cache,
				GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
#ifdef CONFIG_DEBUG_PMAP_INVAL
	if (log)
		raw_spin_lock_init(&log->debug_lock);
#endif
	if (log && cmpxchg(&mm->context.inval_log, NULL, log))
		kmem_cache_free(pmap_inval_log_cache, log);
}

/**
 * pmap_inval_free_log() - forget the generations of an mm
 * @mm: an mm that no CPU has loaded
 *
 * Context: Any that kfree() can be called in.
 */
void pmap_inval_free_log(struct mm_struct *mm)
{
	if (mm->context.inval_log)
		kmem_cache_free(pmap_inval_log_cache, mm->context.inval_log);
	mm->context.inval_log = NULL;
}

/**
 * pmap_inval_log_write() - say what a generation was about
 * @log: the log
 * @gen: the generation, which the caller has been given
 * @run: what changed before it was
 * @tables: page tables were freed as well
 *
 * Publishes nothing if the slot is in use for another generation that is
 * newer, or that its owner is not through with (L2).
 *
 * Context: Any. Lock-free.
 */
void pmap_inval_log_write(struct pmap_inval_log *log, u64 gen, u64 run,
			  bool tables)
{
	struct pmap_inval_slot *slot = &log->slot[gen % PMAP_INVAL_LOG_SLOTS];
	u64 tag = gen * PMAP_INVAL_GEN, old = READ_ONCE(slot->tag);

	debug_write(log, gen, run, tables);
	do {
		if (old & PMAP_INVAL_BUSY || old >= tag)
			return;
	} while (!try_cmpxchg(&slot->tag, &old, tag | PMAP_INVAL_BUSY)); /* LOG:C */

	WRITE_ONCE(slot->run, run);
	smp_store_release(&slot->tag,				/* LOG:A */
			  tag | (tables ? PMAP_INVAL_TABLES : 0));
}

/**
 * pmap_inval_log_read() - what was a generation about?
 * @log: the log
 * @gen: the generation
 * @run: set to the run, if there is one
 * @tables: set to whether page tables were freed, likewise
 *
 * Context: Any. Lock-free.
 * Return: %PMAP_INVAL_FOUND. %PMAP_INVAL_PENDING if it has not been published
 * yet, and may never be. %PMAP_INVAL_LOST if it will not be found any more.
 */
enum pmap_inval_found pmap_inval_log_read(struct pmap_inval_log *log, u64 gen,
					  u64 *run, bool *tables)
{
	struct pmap_inval_slot *slot = &log->slot[gen % PMAP_INVAL_LOG_SLOTS];
	u64 tag = smp_load_acquire(&slot->tag);			/* LOG:B */

	if (tag / PMAP_INVAL_GEN != gen || tag & PMAP_INVAL_BUSY)
		return tag / PMAP_INVAL_GEN > gen ? PMAP_INVAL_LOST :
						    PMAP_INVAL_PENDING;

	*run = READ_ONCE(slot->run);
	*tables = tag & PMAP_INVAL_TABLES;
	smp_rmb();						/* LOG:D */
	if (READ_ONCE(slot->tag) != tag)
		return PMAP_INVAL_LOST;

	debug_found(log, gen, *run, *tables);
	return PMAP_INVAL_FOUND;
}

/**
 * pmap_inval_publish() - take the generations of a flush, and say what it is about
 * @mm: the address space, whose page tables have been changed
 * @runs: what changed. NULL: anything
 * @slot: which of the record's address spaces @mm is
 * @tables: page tables are going to be freed
 * @nr: set to the number of generations
 *
 * One for each run, so that the log has room for it. One for all of them if
 * there is no log: the request has the runs anyway.
 *
 * Context: Any. Lock-free. Also the barrier that inc_mm_tlb_gen() is.
 * Return: the last one of the generations, which are consecutive.
 */
u64 pmap_inval_publish(struct mm_struct *mm, const struct pmap_inval_runs *runs,
		       unsigned int slot, bool tables, u8 *nr)
{
	struct pmap_inval_log *log = READ_ONCE(mm->context.inval_log);
	unsigned int i, n = 0;
	u64 gen, last;

	if (log && runs)
		for (i = 0; i < runs->nr_pir; i++)
			n += pmap_inval_run_of(runs->pir_ary[i], slot);

	*nr = max(n, 1);
	last = atomic64_add_return(max(n, 1), &mm->context.tlb_gen); /* LOG:E */

	for (i = 0, gen = last - n; gen != last; i++)
		if (pmap_inval_run_of(runs->pir_ary[i], slot))
			pmap_inval_log_write(log, ++gen, runs->pir_ary[i] &
					     ~PMAP_INVAL_SLOT_MASK, tables);
	return last;
}

/* Invalidate a run of the loaded mm. Return how many translations it has. */
static unsigned long flush_run(u64 run, unsigned int slot)
{
	unsigned long addr, count, n;
	unsigned int shift;

	count = pmap_inval_run(run, slot, &addr, &shift);
	for (n = count; n; n--, addr += 1UL << shift)
		flush_tlb_one_user(addr);
	return count;
}

static unsigned long flush_runs(const struct pmap_inval_runs *runs,
				unsigned int slot)
{
	unsigned long nr = 0;
	unsigned int i;

	for (i = 0; i < runs->nr_pir; i++)
		nr += flush_run(runs->pir_ary[i], slot);
	return nr;
}

/* How many translations does a run of the log have? */
static unsigned long run_count(u64 run)
{
	unsigned long addr;
	unsigned int shift;

	return pmap_inval_run(run, 0, &addr, &shift);
}

/**
 * pmap_inval_catch_up() - bring this CPU's TLB up to date with the loaded mm
 * @f: the request that is being served, a precise one (.nr_gens)
 * @mm: the loaded mm
 * @local_gen: the generation that this CPU has caught up to
 * @mm_gen: the latest generation of @mm, not older than the request's. Set to
 *	    the one that this CPU has caught up to
 * @nr: set to the number of translations that were invalidated
 *
 * Walks from @local_gen towards @mm_gen. What the request itself is about is in
 * the request, what the others are about in the log. So one interrupt does the
 * work of all flushes that have been published by then, and the interrupts that
 * their owners send find nothing to do.
 *
 * One that is not published ends the walk. There is no need to know what it is
 * about: either this CPU has invalidated it in an earlier walk that ended before
 * it, or the interrupt for it is still to come (L3). But what *this* request is
 * about has to be gone when its owner is told so. Say it is generation 6, and 5
 * is not published::
 *
 *	CPU 0			CPU 1			CPU 2, at 4
 *	tlb_gen = 5
 *				tlb_gen = 6
 *				publish 6
 *				interrupt CPU 2 ------> 5 is missing; do 6, stay at 4
 *	publish 5
 *	interrupt CPU 2 ------------------------------> do 5 and 6, now at 6
 *
 * To invalidate something twice is harmless. To say 6 after the first interrupt
 * would not be: if CPU 2 then switched to another mm, CPU 0 would not interrupt
 * it, and it would come back without looking at 5 (L3).
 *
 * So when a flush returns, what its own generations are about is gone. Of earlier
 * ones, which others have taken, it may not be. Who needs that takes none, or
 * asks for a flush of everything.
 *
 * A generation that is going to free page tables is like others here: if the
 * interrupt for it is still to come, they are not freed yet, and their runs have
 * an address in each of them.
 *
 * Context: Interrupts off, @mm is loaded, not in lazy TLB mode.
 * Return: true if this was done. false if it takes a full flush, to @mm_gen as
 * it was.
 */
bool pmap_inval_catch_up(const struct flush_tlb_info *f, struct mm_struct *mm,
			 u64 local_gen, u64 *mm_gen, unsigned long *nr)
{
	struct pmap_inval_log *log = READ_ONCE(mm->context.inval_log);
	unsigned long budget = READ_ONCE(tlb_single_page_flush_ceiling);
	u64 gen, run, last = f->new_tlb_gen, nr_gens = f->nr_gens;
	const struct pmap_inval_runs *runs = f->runs;
	unsigned int slot = f->slot;
	enum pmap_inval_found found;
	bool tables, own = f->mm && last;

	if (f->batch) {
		slot = pmap_inval_slot(f->batch, mm);
		own = slot < PMAP_INVAL_MAXMM;
		if (own) {
			last = f->batch->pmap[slot].tlb_gen;
			nr_gens = f->batch->pmap[slot].nr_gens;
		}
	}

	/* The request is about everything. */
	if (own && !runs)
		return false;

	/* Its own part is within the ceiling, and comes first. */
	if (own)
		budget -= min(budget, runs->pir_npages);

	*nr = 0;
	for (gen = local_gen + 1; gen <= *mm_gen; gen++) {	/* LOG:F */
		if (own && gen > last - nr_gens && gen <= last) {
			*nr += flush_runs(runs, slot);
			gen = last;
			continue;
		}

		found = PMAP_INVAL_LOST;
		if (log)
			found = pmap_inval_log_read(log, gen, &run, &tables);

		if (found == PMAP_INVAL_FOUND && run_count(run) <= budget) {
			budget -= run_count(run);
			*nr += flush_run(run, 0);
			continue;
		}

		/* Who has done what was asked for can stop anywhere. */
		if (own && gen > last)
			break;
		if (!own || found != PMAP_INVAL_PENDING)
			return false;
		*nr += flush_runs(runs, slot);
		break;
	}
	*mm_gen = gen - 1;
	return true;
}

/**
 * pmap_inval_catch_up_switch() - bring an address space that is switched to up
 *				  to date
 * @mm: the address space
 * @asid: where this CPU has it
 * @loaded: is it loaded, in lazy TLB mode?
 * @to: the latest generation, read after this CPU became visible as a target
 *
 * A generation that is not published counts as missing, unlike in
 * pmap_inval_catch_up(): its owner may have decided already that this CPU need
 * not be interrupted. So does one that freed page tables, which may have been
 * reused by now. All or nothing.
 *
 * An @asid that is not loaded is cleaned *before* CR3 loads it: INVLPG reaches
 * the loaded one only, and from the load on stale entries would be live.
 *
 * Large pages are not caught up with. A CPU may have cached one in pieces, and it
 * is sure that all of them go only where the page is still mapped as a large one.
 * Here that may be long ago, and small ones may be in its place. (A flush on the
 * spot relies on it also when the entry has just gone, as zap_huge_pmd() always has.)
 *
 * Context: Interrupts off.
 * Return: true if @asid is up to date with @to, and is said to be. false if it
 * takes a full flush.
 */
bool pmap_inval_catch_up_switch(struct mm_struct *mm, u16 asid, bool loaded,
				u64 to)
{
	u64 gen, from = this_cpu_read(cpu_tlbstate.ctxs[asid].tlb_gen);
	struct pmap_inval_log *log = READ_ONCE(mm->context.inval_log);
	unsigned long addr, count, total = 0;
	unsigned int i, shift, nr = 0;
	u64 run[SWITCH_MAX];
	bool tables;

	if (!log || !pmap_inval_enabled() || to - from > SWITCH_MAX)
		return false;

	for (gen = from + 1; gen <= to; gen++) {
		if (pmap_inval_log_read(log, gen, &run[nr], &tables) !=
		    PMAP_INVAL_FOUND || tables)
			return false;
		total += pmap_inval_run(run[nr++], 0, &addr, &shift);
		if (total > SWITCH_MAX || shift != PAGE_SHIFT)
			return false;
	}

	for (i = 0; i < nr; i++) {
		if (loaded) {
			flush_run(run[i], 0);
			continue;
		}
		count = pmap_inval_run(run[i], 0, &addr, &shift);
		for (; count; count--, addr += PAGE_SIZE)
			flush_tlb_one_asid(addr, asid);
	}

	this_cpu_write(cpu_tlbstate.ctxs[asid].tlb_gen, to);
	trace_pmap_inval_catchup(mm, from, to, total, true, PMAP_INVAL_PRECISE);
	return true;
}
