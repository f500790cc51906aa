// SPDX-License-Identifier: GPL-2.0
/*
 * Batched, precise TLB invalidation.
 *
 * The base remembers one range per flush, and one stride: two pages that lie
 * more than tlb_single_page_flush_ceiling apart cost every CPU all of its TLB.
 * Here, up to PMAP_INVAL_MAXPIR runs of translations are remembered, each with
 * its own place, number and size, and are what is invalidated.
 *
 * Invariants:
 *
 *  - A record is complete or dropped. Complete: every translation that changed
 *    since the record began lies in a run, and every page table that was
 *    unhooked has an invalidated address inside the span that it mapped. The
 *    flush of a dropped record is the one that the base would have done.
 *
 *  - A record describes the generations that its flush was given, and nothing
 *    else. What else a CPU has missed is in the log of the mm, or it is not
 *    known: pmap_inval_log.c.
 *
 *  - Page-table changes come before the increment of mm->context.tlb_gen, as
 *    for any other flush: flush_tlb_mm_runs().
 *
 * What each back end receives: native and KVM the runs; INVLPGB as well, in as
 * few operations as its count allows, and one TLBSYNC; Hyper-V, Xen PV and the
 * secondary TLBs of mmu_notifier the one range that they receive in the base.
 *
 * Locking: none. A record belongs to one task and lives on its stack, where it
 * stays unchanged while other CPUs read it, from the kick until the last of
 * them has acknowledged.
 */

#define pr_fmt(fmt) "pmap_inval: " fmt

#include <linux/debugfs.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include <asm/pmap_inval.h>
#include <asm/tlbflush.h>

#define CREATE_TRACE_POINTS
#include <asm/trace/pmap_inval.h>

#include "mm_internal.h"

static_assert(PMAP_INVAL_MAXMM <= 1 << (PIR_SIZE_SHIFT - PIR_SLOT_SHIFT));
static_assert(PUD_SHIFT - PMD_SHIFT == PIR_SIZE_BITS);
static_assert(PIR_COUNT_MAX <=
	      type_max(typeof_member(struct pmap_inval_runs, pir_npages)));
static_assert(PMAP_INVAL_SLOT_MASK ==
	      GENMASK_ULL(PIR_SIZE_SHIFT - 1, PIR_SLOT_SHIFT));

/* On unless the command line or debugfs say otherwise. */
DEFINE_STATIC_KEY_TRUE(pmap_inval_key);
DEFINE_STATIC_KEY_FALSE(pmap_inval_hold_key);
/* On for at least as long as there can be a hold. */
DEFINE_STATIC_KEY_FALSE(pmap_inval_switch_key);

/*
 * Drop the record. Its flush falls back to the range of the base, or to
 * everything where there is none.
 */
static void pmap_inval_drop(struct pmap_inval_runs *runs,
			    enum pmap_inval_why why)
{
	runs->recording = false;
	runs->why = why;
	runs->cur_next = 0;
}

static unsigned int pmap_inval_cur_shift(const struct pmap_inval_runs *runs)
{
	return runs->cur_next & ~PAGE_MASK;
}

static unsigned long pmap_inval_cur_count(const struct pmap_inval_runs *runs)
{
	return (runs->cur_next - runs->cur_start) >> pmap_inval_cur_shift(runs);
}

static void pmap_inval_close_run(struct pmap_inval_runs *runs)
{
	unsigned int shift = pmap_inval_cur_shift(runs);
	unsigned long count, total;

	if (!runs->cur_next)
		return;

	if (runs->nr_pir == PMAP_INVAL_MAXPIR) {
		pmap_inval_drop(runs, PMAP_INVAL_OVERFLOW);
		return;
	}

	count = pmap_inval_cur_count(runs);
	total = runs->pir_npages + count;
	if (total > min(READ_ONCE(tlb_single_page_flush_ceiling), PIR_COUNT_MAX)) {
		pmap_inval_drop(runs, PMAP_INVAL_CEILING);
		return;
	}

	runs->pir_npages = total;
	runs->pir_ary[runs->nr_pir++] =
		(u64)(runs->cur_start >> PAGE_SHIFT) << PIR_PAGE_SHIFT |
		(u64)(shift - PAGE_SHIFT) / PIR_SIZE_BITS << PIR_SIZE_SHIFT |
		(u64)runs->cur_slot << PIR_SLOT_SHIFT | count;
	runs->cur_next = 0;
}

/*
 * Will an address in [@start, @start + @span) be invalidated anyway? The ones
 * that are begin at @addr and lie 1 << @shift apart.
 */
static bool pmap_inval_hits(unsigned long addr, unsigned long count,
			    unsigned int shift, unsigned long start,
			    unsigned long span)
{
	unsigned long first = addr;

	if (first < start)
		first += round_up(start - addr, 1UL << shift);

	return first < addr + (count << shift) && first - start < span;
}

static bool pmap_inval_covered(struct pmap_inval_runs *runs, unsigned long start,
			       unsigned long span)
{
	unsigned long addr, count;
	unsigned int i, shift;

	if (runs->cur_next &&
	    pmap_inval_hits(runs->cur_start, pmap_inval_cur_count(runs),
			    pmap_inval_cur_shift(runs), start, span))
		return true;

	for (i = 0; i < runs->nr_pir; i++) {
		count = pmap_inval_run(runs->pir_ary[i], runs->cur_slot,
				       &addr, &shift);
		if (count && pmap_inval_hits(addr, count, shift, start, span))
			return true;
	}
	return false;
}

/**
 * __pmap_inval_record() - record a change
 * @runs: the record
 * @addr: where the change begins
 * @size: bytes that changed
 * @shift: what an entry of the level that changed maps, as a shift
 *
 * With @size below 1 << @shift it is not a translation that changed. It is a
 * page table that was unhooked from the entry for @addr, which is how
 * mmu_gather tells about it. Then the paging-structure caches have to be
 * invalidated for the span that the entry mapped. INVLPG drops all of them for
 * the current PCID, but with EFER.TCE (which is set on AMD CPUs that have it)
 * only those that were used for its address, and INVPCID promises no more. So
 * there must be one invalidation inside the span. Any will do: if one is on
 * record already, nothing is added. Otherwise the 4K page at @addr is.
 */
void __pmap_inval_record(struct pmap_inval_runs *runs, unsigned long addr,
			 unsigned long size, unsigned int shift)
{
	unsigned long span = 1UL << shift, start, end;

	if (size < span) {
		if (pmap_inval_covered(runs, round_down(addr, span), span))
			return;
		shift = PAGE_SHIFT;
		span = PAGE_SIZE;
		size = PAGE_SIZE;
	}

	/* Nothing leaf-like is that large. Never guess. */
	if (WARN_ON_ONCE(shift > PUD_SHIFT)) {
		pmap_inval_drop(runs, PMAP_INVAL_OVERFLOW);
		return;
	}

	start = round_down(addr, span);
	end = round_up(addr + size, span);

	/* Inside the open run, or it grows. */
	if (shift == pmap_inval_cur_shift(runs) && start >= runs->cur_start &&
	    (start | shift) <= runs->cur_next) {
		runs->cur_next = max(runs->cur_next, end | shift);
		return;
	}

	pmap_inval_close_run(runs);
	if (!runs->recording)
		return;
	runs->cur_start = start;
	runs->cur_next = end | shift;
}

/**
 * pmap_inval_close() - end a record, so that it can be flushed
 * @runs: the record
 *
 * Return: %PMAP_INVAL_PRECISE if it is complete, otherwise the reason why it
 * was dropped.
 */
enum pmap_inval_why pmap_inval_close(struct pmap_inval_runs *runs)
{
	if (runs->recording)
		pmap_inval_close_run(runs);
	return runs->why;
}

/* The slot of @mm in a batch, or PMAP_INVAL_MAXMM. */
unsigned int pmap_inval_slot(const struct pmap_inval_info *info,
			     const struct mm_struct *mm)
{
	unsigned int slot;

	for (slot = 0; slot < min(info->nr_mm, PMAP_INVAL_MAXMM); slot++)
		if (info->pmap[slot].mm == mm)
			return slot;
	return PMAP_INVAL_MAXMM;
}

/**
 * pmap_inval_targets() - is a CPU that has an mm loaded a target of a request?
 * @f: a request that is not for one mm
 * @mm: what the CPU has loaded, possibly LOADED_MM_SWITCHING
 *
 * Return: false if the request is known not to concern the CPU.
 */
bool pmap_inval_targets(const struct flush_tlb_info *f, struct mm_struct *mm)
{
	if (!f->batch)
		return true;

	/* While switching, it may have state of either mm: assume the worst. */
	return mm == LOADED_MM_SWITCHING ||
	       pmap_inval_slot(f->batch, mm) < PMAP_INVAL_MAXMM;
}

/* Does @cpu run an address space of the batch, so that it has to be held? */
static bool pmap_inval_hold_cond(int cpu, void *data)
{
	struct mm_struct *mm = READ_ONCE(per_cpu(cpu_tlbstate.loaded_mm, cpu));
	struct pmap_inval_info *info = data;

	/* Pairs with switch_mm_irqs_off(), as in should_flush_tlb(). */
	smp_rmb();
	if (per_cpu(cpu_tlbstate_shared.is_lazy, cpu))
		return false;

	return mm == LOADED_MM_SWITCHING ||
	       pmap_inval_slot(info, mm) < PMAP_INVAL_MAXMM;
}

/*
 * With all CPUs held that run the address spaces of the batch, keep others from
 * beginning to. Return false if one has begun in the meantime.
 *
 *	pmap_inval_keep_out()		switch_mm_irqs_off()
 *
 *	inval_holds++			loaded_mm = SWITCHING, set mm_cpumask,
 *					or is_lazy = false
 *	smp_mb()	// HOLD:A	smp_mb()			// HOLD:A
 *	look at mm_cpumask,		wait for inval_holds <= 0	// HOLD:B
 *	loaded_mm, is_lazy		load tlb_gen, write CR3
 *
 * This way the CPU waits, or is seen here. It waits with its rq->lock taken and
 * interrupts off, so that whoever keeps it waiting must not be interrupted, nor
 * wait for anything, until pmap_inval_let_in().
 */
static bool pmap_inval_keep_out(struct pmap_inval_info *info)
{
	const struct cpumask *held = cpusync_held_mask(&info->cs);
	int cpu, self = smp_processor_id();
	unsigned int slot;

	/* Interrupts are off, for which pmap_inval_set_mode() waits. */
	if (!static_key_enabled(&pmap_inval_hold_key))
		return false;

	/* Printing wakes up who waits for the console, which may take their lock. */
	printk_deferred_enter();
	for (slot = 0; slot < info->nr_mm; slot++) {
		info->kept_out++;
		if (atomic_inc_return(&info->pmap[slot].mm->context.inval_holds) < 0)
			return false;
	}
	smp_mb__after_atomic();					/* HOLD:A */

	for (slot = 0; slot < info->nr_mm; slot++) {
		/*
		 * Who is held may have loaded a global ASID before that, which
		 * its kick does not flush. Of one that is assigned from here on
		 * nobody has anything cached before going on.
		 */
		if (mm_global_asid(info->pmap[slot].mm))
			return false;

		for_each_cpu_andnot(cpu, mm_cpumask(info->pmap[slot].mm), held) {
			if (cpu != self && pmap_inval_hold_cond(cpu, info))
				return false;
		}
	}
	return true;
}

/*
 * Whoever goes on sees what was changed, and its generation. Return true if
 * somebody has not waited for that, and has to be told.
 */
static bool pmap_inval_let_in(struct pmap_inval_info *info)
{
	bool any = info->kept_out, left = false;
	struct mm_struct *mm;

	while (info->kept_out) {
		mm = info->pmap[--info->kept_out].mm;
		left |= atomic_dec_return(&mm->context.inval_holds) < 0; /* HOLD:B */
	}
	if (any)
		printk_deferred_exit();
	return left;
}

/*
 * Called by a CPU that is about to run @mm and has said so, with interrupts off.
 *
 * If the initiator has died, it must not take others along. So an oops anywhere
 * ends the wait, also of those who come later, and all holds of this mm from now
 * on: the counter stays negative. An initiator that is alive sees that, or this
 * CPU sees the generation that it has published before.
 */
void __pmap_inval_wait(struct mm_struct *mm)
{
	smp_mb();						/* HOLD:A */
	while (atomic_read_acquire(&mm->context.inval_holds) > 0) { /* HOLD:B */
		if (unlikely(cpusync_oopsed())) {
			atomic_or(INT_MIN, &mm->context.inval_holds);
			smp_mb__after_atomic();			/* HOLD:B */
			return;
		}
		cpu_relax();
	}
}

/*
 * Hold the CPUs that run @mm, in addition to those that are held already, and
 * keep others from beginning to run it. After one failure the batch goes on
 * without: the hold is gone, and whoever relies on it asks pmap_inval_held()
 * each time.
 */
static void pmap_inval_interlock(struct pmap_inval_info *info,
				 struct mm_struct *mm)
{
	/* For those that are let go early: catch up, whatever there is. */
	struct flush_tlb_info f = { .end = TLB_FLUSH_ALL };

	/* Nobody has begun to run it since. */
	if (pmap_inval_slot(info, mm) < info->kept_out)
		return;

	/* More CPUs: until they are there, interrupts are on. */
	pmap_inval_let_in(info);

	/*
	 * INVLPGB does not ask for cooperation, so there is none to suspend:
	 * pmap_inval_keep_out() looks again. And one mm too many ends in a
	 * flush that needs interrupts.
	 */
	info->cs.info = info;
	if (!mm_global_asid(mm) && info->nr_mm <= PMAP_INVAL_MAXMM &&
	    cpusync_interlock(&info->cs, mm_cpumask(mm)) >= 0 &&
	    pmap_inval_keep_out(info))
		return;

	pmap_inval_let_in(info);

	info->hold = false;
	if (cpusync_held(&info->cs)) {
		f.initiating_cpu = smp_processor_id();
		info->cs.info = &f;
		cpusync_deinterlock(&info->cs);
	}
}

/**
 * pmap_inval_init() - start a batch of page-table changes
 * @info: the batch, on the caller's stack
 * @flags: %PMAP_INVAL_HOLD or 0
 *
 * Cheap: sends nothing, takes nothing. Between here and pmap_inval_flush()
 * translations are registered with pmap_inval_add() and changed. Without a
 * hold the order of these two is free; with one, the first of an address space is
 * registered before any of its is changed.
 *
 * Context: Any.
 */
void pmap_inval_init(struct pmap_inval_info *info, unsigned int flags)
{
	pmap_inval_begin(&info->runs);
	pmap_inval_reset(&info->runs, false);
	info->nr_mm = 0;
	info->kept_out = 0;
	info->hold = flags & PMAP_INVAL_HOLD &&
		     static_branch_unlikely(&pmap_inval_hold_key);
	cpusync_init(&info->cs, pmap_inval_hold_cond, flush_tlb_held, info);
}

static void pmap_inval_add_mm(struct pmap_inval_info *info,
			      struct mm_struct *mm)
{
	unsigned int slot = pmap_inval_slot(info, mm);

	if (slot == PMAP_INVAL_MAXMM) {
		if (info->nr_mm >= PMAP_INVAL_MAXMM) {
			/* Not even the mm is on record: everything, for all. */
			info->nr_mm = PMAP_INVAL_MAXMM + 1;
			pmap_inval_drop(&info->runs, PMAP_INVAL_OVERFLOW);
			return;
		}
		slot = info->nr_mm++;
		info->pmap[slot].mm = mm;
	}

	if (info->runs.recording && slot != info->runs.cur_slot) {
		pmap_inval_close_run(&info->runs);
		info->runs.cur_slot = slot;
	}
}

/**
 * pmap_inval_add() - register translations that change before the next flush
 * @info: the batch
 * @mm: the address space. Several can be mixed in one batch
 * @addr: user address that the first translation is for
 * @nr: how many of them, at consecutive addresses
 * @shift: their size: PAGE_SHIFT, PMD_SHIFT or PUD_SHIFT, leaf entries only.
 *	   Who unhooks a page table needs mmu_gather
 *
 * Costs nothing but memory, however often a translation is registered. More
 * than the batch holds (%PMAP_INVAL_MAXPIR runs, tlb_single_page_flush_ceiling
 * translations, %PMAP_INVAL_MAXMM address spaces) make the flush a full one. If
 * it is address spaces, secondary TLBs are not told: who has some takes fewer.
 *
 * With %PMAP_INVAL_HOLD, on return the CPUs that run @mm are in a rendezvous:
 * they neither use nor change its translations until pmap_inval_flush(), at
 * which they see all changes at once. A CPU that wants to run @mm meanwhile
 * waits in switch_mm_irqs_off(). So entries can be changed with plain loads and
 * stores: no dirty bit is set in between, though an accessed bit may be, by
 * speculation or a read in an NMI, and is then lost. Not on an mm with
 * mmu_notifiers, whose devices go on. And if somebody oopses, everybody goes
 * on, so that the batch that is under way then may lose a dirty bit, though no
 * invalidation.
 *
 * It costs nothing for an @mm whose CPUs are held already. With another one,
 * CPUs may have to be added, and what was read before has to be read again. If
 * not all of them come in time, or one has just begun to run @mm, none is held,
 * and pmap_inval_held() says so.
 *
 * Context: Any, as long as one task uses @info. To hold, task context with
 *	    interrupts on; they are off from then on.
 */
void pmap_inval_add(struct pmap_inval_info *info, struct mm_struct *mm,
		    unsigned long addr, unsigned long nr, unsigned int shift)
{
	if (!nr)
		return;

	pmap_inval_add_mm(info, mm);
	pmap_inval_record(&info->runs, round_down(addr, 1UL << shift),
			  nr << shift, shift);
	if (info->hold)
		pmap_inval_interlock(info, mm);
}

/**
 * pmap_inval_add_all() - register all translations of an address space
 * @info: the batch
 * @mm: the address space
 *
 * What M. Dillon's proposal spells as virtual address -1. It makes the flush a
 * full one, for the other address spaces of the batch too.
 *
 * Context: As for pmap_inval_add().
 */
void pmap_inval_add_all(struct pmap_inval_info *info, struct mm_struct *mm)
{
	pmap_inval_add_mm(info, mm);
	pmap_inval_drop(&info->runs, PMAP_INVAL_ASKED);
	if (info->hold)
		pmap_inval_interlock(info, mm);
}

/* The smallest range that has all runs of a slot in it. */
static void pmap_inval_hull(const struct pmap_inval_runs *runs,
			    unsigned int slot, unsigned long *start,
			    unsigned long *end)
{
	unsigned long addr, count;
	unsigned int i, shift;

	*start = TASK_SIZE_MAX;
	*end = 0;
	for (i = 0; i < runs->nr_pir; i++) {
		count = pmap_inval_run(runs->pir_ary[i], slot, &addr, &shift);
		if (!count)
			continue;
		*start = min(*start, addr);
		*end = max(*end, addr + (count << shift));
	}
}

/* Flush one address space of a batch. */
static void pmap_inval_flush_mm(struct pmap_inval_info *info, unsigned int slot)
{
	unsigned long start = 0, end = TLB_FLUSH_ALL;

	if (pmap_inval_close(&info->runs) == PMAP_INVAL_PRECISE)
		pmap_inval_hull(&info->runs, slot, &start, &end);
	flush_tlb_mm_runs(info->pmap[slot].mm, start, end, PAGE_SHIFT, false,
			  &info->runs, slot);
}

/*
 * Flush several address spaces with one kick per CPU, which catches up with
 * the one that it has loaded. The others see their generation when they are
 * loaded. Back ends that know nothing of batches see the request that reclaim
 * sends, for everything that has fallen behind.
 *
 * CPUs that are held do it when they are let go, and nobody else runs one of
 * the address spaces then: pmap_inval_keep_out().
 */
static void pmap_inval_flush_batch(struct pmap_inval_info *info)
{
	enum pmap_inval_why why = pmap_inval_close(&info->runs);
	struct flush_tlb_info f = {
		.end		= TLB_FLUSH_ALL,
		.new_tlb_gen	= TLB_GENERATION_INVALID,
		.runs		= why == PMAP_INVAL_PRECISE ? &info->runs : NULL,
		.batch		= info,
		.nr_gens	= info->runs.on,
		.initiating_cpu	= raw_smp_processor_id(),
	};
	unsigned long start, end;
	bool kick, alone;
	unsigned int slot;

	/* The changes are visible before the generations are, and the kick. */
	for (slot = 0; slot < info->nr_mm; slot++)
		info->pmap[slot].tlb_gen =
			pmap_inval_publish(info->pmap[slot].mm, f.runs, slot,
					   false, &info->pmap[slot].nr_gens);

	kick = true;
	if (pmap_inval_held(info)) {
		kick = pmap_inval_let_in(info);
		alone = cpumask_empty(cpusync_held_mask(&info->cs));
		info->cs.info = &f;
		cpusync_deinterlock(&info->cs);
		/* With nobody to flush but this CPU, it was not a remote one. */
		if (!kick && !alone)
			account_flush_tlb_held(&f);
	}
	if (kick)
		flush_tlb_multi(cpu_online_mask, &f);

	trace_pmap_inval_flush(NULL, 0, cpu_online_mask, info->runs.nr_pir,
			       f.runs ? info->runs.pir_npages : TLB_FLUSH_ALL,
			       false, why);

	for (slot = 0; slot < info->nr_mm; slot++) {
		/*
		 * CPUs with a global ASID are not reached by kicks. Look for it
		 * after the increment: who gets one later fills it later.
		 */
		if (mm_global_asid(info->pmap[slot].mm)) {
			pmap_inval_flush_mm(info, slot);
			continue;
		}

		start = 0;
		end = TLB_FLUSH_ALL;
		if (f.runs)
			pmap_inval_hull(f.runs, slot, &start, &end);
		mmu_notifier_arch_invalidate_secondary_tlbs(info->pmap[slot].mm,
							    start, end);
	}
}

/**
 * pmap_inval_flush() - invalidate what was registered, wherever it is cached
 * @info: the batch, which is empty and can be used again on return
 *
 * All translations that were registered since pmap_inval_init() or the last
 * flush have been changed already. On return, no CPU can use the old ones any
 * more: who may still have them cached, in lazy TLB mode or for a PCID that is
 * not loaded, looks at the generation before it comes back. Nothing else was
 * invalidated unless the batch overflowed or the flush met others of the same
 * address space. One kick per CPU at the most; none if the batch is empty, and
 * none to CPUs that do not run the address space.
 *
 * CPUs that are held invalidate it and go on.
 *
 * It has to come before anything that relies on the changes: dropping the lock
 * that orders them against other changes of the same entries, freeing what
 * they pointed to, and sleeping.
 *
 * Context: Task context, interrupts on, or as pmap_inval_add() has left it. On
 *	    return as before that. Does not sleep, but may be preempted.
 */
void pmap_inval_flush(struct pmap_inval_info *info)
{
	if (info->nr_mm > PMAP_INVAL_MAXMM)
		flush_tlb_all();
	else if (info->nr_mm == 1 && !pmap_inval_held(info))
		pmap_inval_flush_mm(info, 0);
	else if (info->nr_mm)
		pmap_inval_flush_batch(info);

	pmap_inval_reset(&info->runs, false);
	info->nr_mm = 0;
}

/*
 * Not if somebody counts entries as they are exchanged, or if somebody else
 * than CPUs sets bits in them: devices come with mmu_notifiers, which takes the
 * mmap_lock. And a single CPU has nobody to hold.
 */
bool __pmap_inval_hold_possible(struct mm_struct *mm)
{
	return !IS_ENABLED(CONFIG_PREEMPT_RT) &&
	       !IS_ENABLED(CONFIG_PAGE_TABLE_CHECK) &&
	       !cpu_feature_enabled(X86_FEATURE_XENPV) &&
	       !mm_has_notifiers(mm) && !mm_global_asid(mm) &&
	       cpumask_any_but(mm_cpumask(mm), raw_smp_processor_id()) < nr_cpu_ids;
}

/**
 * pmap_inval_replace_pte() - replace an entry that CPUs may be using
 * @mm: the address space
 * @addr: user address that @ptep translates
 * @ptep: the entry
 * @pte: its new value
 *
 * When it returns, no CPU can use the old entry any more, and what it returns is
 * what the last of its users has left in it. If the CPUs that run @mm could be
 * held, nobody has seen anything in between.
 *
 * Context: As for pmap_inval_add(). The page-table lock is held.
 * Return: the entry that was replaced.
 */
pte_t pmap_inval_replace_pte(struct mm_struct *mm, unsigned long addr,
			     pte_t *ptep, pte_t pte)
{
	struct pmap_inval_info info;
	pte_t old;

	pmap_inval_init(&info, PMAP_INVAL_HOLD);
	pmap_inval_add(&info, mm, addr, 1, PAGE_SHIFT);
	old = native_make_pte(xchg(&ptep->pte, native_pte_val(pte)));
	pmap_inval_flush(&info);
	return old;
}

/**
 * pmap_inval_cmpset_pte() - replace an entry if it is what it was
 * @mm: the address space
 * @addr: user address that @ptep translates
 * @ptep: the entry
 * @old: its value when it was looked at
 * @pte: its new value
 *
 * An accessed or dirty bit that a CPU has set since then makes it fail.
 * The translation is invalidated in both cases.
 *
 * Context: As for pmap_inval_replace_pte().
 * Return: has it been replaced?
 */
bool pmap_inval_cmpset_pte(struct mm_struct *mm, unsigned long addr,
			   pte_t *ptep, pte_t old, pte_t pte)
{
	pteval_t val = native_pte_val(old);
	struct pmap_inval_info info;
	bool done;

	pmap_inval_init(&info, PMAP_INVAL_HOLD);
	pmap_inval_add(&info, mm, addr, 1, PAGE_SHIFT);
	done = try_cmpxchg(&ptep->pte, &val, native_pte_val(pte));
	pmap_inval_flush(&info);
	return done;
}

/* Switches: a boot parameter, and a file to compare within one boot. */

static const char * const pmap_inval_modes[] = { "off", "on", "hold" };
static DEFINE_MUTEX(pmap_inval_mode_mutex);

static unsigned int pmap_inval_mode(void)
{
	return static_key_enabled(&pmap_inval_key) +
	       static_key_enabled(&pmap_inval_hold_key);
}

/**
 * pmap_inval_set_mode() - choose what record and batches do
 * @word: "off": ranges, as the base. "on": precise flushes, and no batch holds
 *	  CPUs. "hold": batches that ask for it do
 *
 * Records and batches that have begun keep the mode they began with, but may not
 * hold any more.
 *
 * Context: Sleeps.
 * Return: 0, or -EINVAL if @word is none of these.
 */
int pmap_inval_set_mode(const char *word)
{
	int mode = match_string(pmap_inval_modes, ARRAY_SIZE(pmap_inval_modes),
				word);

	if (mode < 0)
		return mode;

	guard(mutex)(&pmap_inval_mode_mutex);
	if (mode)
		static_branch_enable(&pmap_inval_key);
	else
		static_branch_disable(&pmap_inval_key);
	if (mode == 2) {
		static_branch_enable(&pmap_inval_switch_key);
		/* Switches that have not seen it do not look whether to wait. */
		synchronize_rcu();
		static_branch_enable(&pmap_inval_hold_key);
	} else if (static_key_enabled(&pmap_inval_hold_key)) {
		static_branch_disable(&pmap_inval_hold_key);
		/* Holds that have not seen it have preemption disabled. */
		synchronize_rcu();
		static_branch_disable(&pmap_inval_switch_key);
	}
	return 0;
}

static int __init pmap_inval_setup(char *word)
{
	if (pmap_inval_set_mode(word))
		pr_warn("'%s' is not a mode: off, on or hold. Staying %s.\n",
			word, pmap_inval_modes[pmap_inval_mode()]);
	return 1;
}
__setup("pmap_inval=", pmap_inval_setup);

static ssize_t pmap_inval_mode_read(struct file *file, char __user *ubuf,
				    size_t count, loff_t *ppos)
{
	unsigned int i, now = pmap_inval_mode();
	char buf[32];
	int len = 0;

	for (i = 0; i < ARRAY_SIZE(pmap_inval_modes); i++)
		len += scnprintf(buf + len, sizeof(buf) - len,
				 i == now ? "[%s] " : "%s ", pmap_inval_modes[i]);
	buf[len - 1] = '\n';
	return simple_read_from_buffer(ubuf, count, ppos, buf, len);
}

static ssize_t pmap_inval_mode_write(struct file *file, const char __user *ubuf,
				     size_t count, loff_t *ppos)
{
	char buf[8] = "";
	int err;

	if (*ppos || count >= sizeof(buf))
		return -EINVAL;
	if (copy_from_user(buf, ubuf, count))
		return -EFAULT;
	if (strlen(buf) != count)
		return -EINVAL;

	err = pmap_inval_set_mode(strim(buf));
	return err ?: count;
}

static const struct file_operations pmap_inval_mode_fops = {
	.read	= pmap_inval_mode_read,
	.write	= pmap_inval_mode_write,
	.llseek	= default_llseek,
};

static int __init pmap_inval_debugfs(void)
{
	debugfs_create_file("pmap_inval", 0600, arch_debugfs_dir, NULL,
			    &pmap_inval_mode_fops);
	return 0;
}
late_initcall(pmap_inval_debugfs);
