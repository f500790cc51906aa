/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Batched, precise TLB invalidation.
 *
 * The law: 1. change the page table, 2. invalidate every CPU that may have
 * cached the old entry, 3. only then free or reuse what it pointed to. All that
 * is done here is to remember in between *what* was changed, so that step 2 is
 * no wider than step 1. When in doubt the record is dropped and step 2 is what
 * it would have been without it. Nothing here can fail.
 *
 * pmap_inval_init()	- an empty batch. Cheap, sends nothing.
 * pmap_inval_add()	- register translations that are about to change.
 * pmap_inval_add_all()	- register all translations of an mm.
 * pmap_inval_flush()	- invalidate what was registered, on all CPUs that may
 *			  have it cached, with one kick per CPU.
 *
 * With PMAP_INVAL_HOLD, pmap_inval_add() also brings the CPUs that run the mm
 * to a halt until the flush, if they come in time: pmap_inval_held() tells.
 *
 * The interface is the one that M. Dillon proposed for DragonFly BSD in
 * February 2004; the implementation is new. See
 * Documentation/arch/x86/pmap_inval.rst.
 */
#ifndef _ASM_X86_PMAP_INVAL_H
#define _ASM_X86_PMAP_INVAL_H

#include <linux/cpusync.h>
#include <linux/jump_label.h>
#include <linux/mm_types.h>
#include <linux/spinlock_types.h>
#include <linux/types.h>

#include <asm/pgtable_types.h>

struct flush_tlb_info;
struct mm_struct;

/* Why a flush is precise, or full. Also the order of the tracepoints' words. */
enum pmap_inval_why {
	PMAP_INVAL_PRECISE,	/* exactly what was recorded */
	PMAP_INVAL_RANGE,	/* one range: the record was dropped, or there is none */
	PMAP_INVAL_ASKED,	/* the caller wants everything gone */
	PMAP_INVAL_OVERFLOW,	/* more runs than fit */
	PMAP_INVAL_CEILING,	/* above tlb_single_page_flush_ceiling */
	PMAP_INVAL_GAP,		/* other flushes of this mm came in between */
};

/*
 * A run is @count neighbouring translations of one size. It is one word:
 *
 *	bits 63..19	page number of the first one, in units of 4K
 *	bits 18..17	size: 0 = 4K, 1 = 2M, 2 = 1G
 *	bits 16..15	which mm of a batch, 0 if there is just one
 *	bits 14..0	count
 */
#define PMAP_INVAL_MAXPIR	16
#define PMAP_INVAL_MAXMM	4
#define PMAP_INVAL_SLOT_MASK	GENMASK_ULL(16, 15)
#define PIR_SLOT_SHIFT		15
#define PIR_SIZE_SHIFT		17
#define PIR_PAGE_SHIFT		19
#define PIR_COUNT_MAX		((1UL << PIR_SLOT_SHIFT) - 1)

/* The sizes that a run can have are 9 bits apart: 4K, 2M, 1G. */
#define PIR_SIZE_BITS		(PMD_SHIFT - PAGE_SHIFT)

/*
 * What a generation of an mm was about, see arch/x86/mm/pmap_inval_log.c. The
 * @tag is the generation, times PMAP_INVAL_GEN, with flags.
 */
struct pmap_inval_slot {
	u64 tag;
	u64 run;
};

#define PMAP_INVAL_BUSY		BIT_ULL(0)	/* claimed, not published yet */
#define PMAP_INVAL_TABLES	BIT_ULL(1)	/* page tables were freed */
#define PMAP_INVAL_GEN		BIT_ULL(2)

#define PMAP_INVAL_LOG_SLOTS	64

struct pmap_inval_log {
	struct pmap_inval_slot slot[PMAP_INVAL_LOG_SLOTS];
	/* Of mmu_gather. Here because it is of use to the same mms. */
	u64 spans[MMU_GATHER_NR_SPANS];
#ifdef CONFIG_DEBUG_PMAP_INVAL
	/* The same, kept in the plain way: under a lock, and for longer. */
	raw_spinlock_t debug_lock;
	struct {
		u64 gen;
		u64 run;
		bool tables;
	} debug[16 * PMAP_INVAL_LOG_SLOTS];
#endif
};

/* What became of a generation. */
enum pmap_inval_found {
	PMAP_INVAL_FOUND,
	PMAP_INVAL_PENDING,	/* it is not published, yet */
	PMAP_INVAL_LOST,	/* a newer one is in its place */
};

/**
 * struct pmap_inval_runs - a list of runs that is being recorded
 * @recording:	false once it was dropped, and while it is not @on
 * @why:	%PMAP_INVAL_PRECISE as long as nothing was dropped
 * @nr_pir:	number of closed runs
 * @cur_slot:	which mm the open run belongs to
 * @pir_npages:	number of translations in closed runs
 * @on:		latched when the record began: is there a record at all?
 * @cur_start:	start of the open run, aligned to the size of its translations
 * @cur_next:	end of it, with this size as a shift in the low bits: one
 *		comparison tells whether a change continues the run. 0 if no
 *		run is open
 * @pir_ary:	the closed runs
 *
 * Page-table walks go upwards, so that the last run is the only one that a new
 * entry is compared with. It is kept unpacked for that, and packed when the
 * next one is opened.
 */
struct pmap_inval_runs {
	bool		recording;
	u8		why;
	u8		nr_pir;
	u8		cur_slot;
	u16		pir_npages;
	bool		on;
	unsigned long	cur_start;
	unsigned long	cur_next;
	u64		pir_ary[PMAP_INVAL_MAXPIR];
};

/* Flags of pmap_inval_init(). */
#define PMAP_INVAL_HOLD		BIT(0)

/**
 * struct pmap_inval_info - a batch of translations that are about to change
 * @runs:	what was registered
 * @hold:	hold CPUs as they are needed. Cleared once they did not come
 * @kept_out:	to so many address spaces of @pmap no CPU can switch
 * @cs:		the CPUs that are held
 * @nr_mm:	number of address spaces in @pmap. More than fit:
 *		%PMAP_INVAL_MAXMM + 1, and then the flush is for all of them
 * @pmap:	each with the last of the generations that its flush was given,
 *		and their number
 *
 * Lives on the caller's stack. The caller keeps every mm alive until
 * pmap_inval_flush() has returned.
 */
struct pmap_inval_info {
	struct pmap_inval_runs	runs;
	bool			hold;
	u8			kept_out;
	struct cpusync		cs;
	unsigned int		nr_mm;
	struct {
		struct mm_struct	*mm;
		u64			tlb_gen;
		u8			nr_gens;
	} pmap[PMAP_INVAL_MAXMM];
};

#ifdef CONFIG_X86_PMAP_INVAL

DECLARE_STATIC_KEY_TRUE(pmap_inval_key);
DECLARE_STATIC_KEY_FALSE(pmap_inval_hold_key);
DECLARE_STATIC_KEY_FALSE(pmap_inval_switch_key);

void __pmap_inval_record(struct pmap_inval_runs *runs, unsigned long addr,
			 unsigned long size, unsigned int shift);
enum pmap_inval_why pmap_inval_close(struct pmap_inval_runs *runs);
unsigned int pmap_inval_slot(const struct pmap_inval_info *info,
			     const struct mm_struct *mm);
void pmap_inval_log_write(struct pmap_inval_log *log, u64 gen, u64 run,
			  bool tables);
enum pmap_inval_found pmap_inval_log_read(struct pmap_inval_log *log, u64 gen,
					  u64 *run, bool *tables);
u64 pmap_inval_publish(struct mm_struct *mm, const struct pmap_inval_runs *runs,
		       unsigned int slot, bool tables, u8 *nr);
bool pmap_inval_catch_up(const struct flush_tlb_info *f, struct mm_struct *mm,
			 u64 local_gen, u64 *mm_gen, unsigned long *nr);
bool pmap_inval_catch_up_switch(struct mm_struct *mm, u16 asid, bool loaded,
				u64 to);
bool pmap_inval_targets(const struct flush_tlb_info *f, struct mm_struct *mm);

/* Is a run of this one of the address spaces of a batch? */
static __always_inline bool pmap_inval_run_of(u64 run, unsigned int slot)
{
	return (run & PMAP_INVAL_SLOT_MASK) == (u64)slot << PIR_SLOT_SHIFT;
}

/*
 * Unpack a run: set the address and the size, as a shift, of its translations.
 * Return their number, 0 if they are not of @slot.
 */
static __always_inline unsigned long pmap_inval_run(u64 run, unsigned int slot,
						    unsigned long *addr,
						    unsigned int *shift)
{
	if (!pmap_inval_run_of(run, slot))
		return 0;

	*addr = (s64)run >> PIR_PAGE_SHIFT << PAGE_SHIFT;
	*shift = PAGE_SHIFT + (run >> PIR_SIZE_SHIFT & 3) * PIR_SIZE_BITS;
	return run & PIR_COUNT_MAX;
}

/* Is there an alternative to what the base does? */
static __always_inline bool pmap_inval_enabled(void)
{
	return static_branch_likely(&pmap_inval_key);
}

static __always_inline void __pmap_inval_reset(struct pmap_inval_runs *runs,
					       bool recording,
					       enum pmap_inval_why why)
{
	runs->recording	 = recording;
	runs->why	 = why;
	runs->nr_pir	 = 0;
	runs->cur_slot	 = 0;
	runs->pir_npages = 0;
}

/*
 * Forget what was recorded, since it has been flushed, or (@drop) since the
 * next flush will be a full one whatever comes.
 */
static __always_inline void pmap_inval_reset(struct pmap_inval_runs *runs,
					     bool drop)
{
	/* Two stores of constants either way. */
	if (runs->on && !drop)
		__pmap_inval_reset(runs, true, PMAP_INVAL_PRECISE);
	else
		__pmap_inval_reset(runs, false, PMAP_INVAL_ASKED);
	runs->cur_next	 = 0;
}

/*
 * Begin a record, which pmap_inval_reset() makes empty. The mode is latched
 * here: one that changes while something is recorded must not make a record
 * that has a hole in it look complete.
 */
static __always_inline void pmap_inval_begin(struct pmap_inval_runs *runs)
{
	runs->on = pmap_inval_enabled();
}

/*
 * Record that [@addr, @addr + @size) changes at the level whose entries map
 * 1 << @shift bytes. @addr is a multiple of the page size, but may be any if the
 * record is empty. A @size below 1 << @shift is how mmu_gather says that a page
 * table was unhooked from such an entry, see __pmap_inval_record().
 */
static __always_inline void pmap_inval_record(struct pmap_inval_runs *runs,
					      unsigned long addr,
					      unsigned long size,
					      unsigned int shift)
{
	/* Small enough that the callers of this are inlined as before. */
	if (size >= 1UL << shift && runs->cur_next == (addr | shift))
		runs->cur_next += size;
	else if (runs->recording)
		__pmap_inval_record(runs, addr, size, shift);
}

/* Has all that was recorded become one run, which is [@start, @end)? */
static __always_inline bool pmap_inval_is_range(const struct pmap_inval_runs *runs,
						unsigned long start,
						unsigned long end)
{
	/* Without an open run, @cur_start was not written. */
	return !runs->nr_pir && (runs->cur_next & PAGE_MASK) == end &&
	       runs->cur_start == start;
}

int pmap_inval_set_mode(const char *word);
void pmap_inval_init(struct pmap_inval_info *info, unsigned int flags);
void pmap_inval_add(struct pmap_inval_info *info, struct mm_struct *mm,
		    unsigned long addr, unsigned long nr, unsigned int shift);
void pmap_inval_add_all(struct pmap_inval_info *info, struct mm_struct *mm);
void pmap_inval_flush(struct pmap_inval_info *info);
pte_t pmap_inval_replace_pte(struct mm_struct *mm, unsigned long addr,
			     pte_t *ptep, pte_t pte);
bool pmap_inval_cmpset_pte(struct mm_struct *mm, unsigned long addr,
			   pte_t *ptep, pte_t old, pte_t pte);
bool __pmap_inval_hold_possible(struct mm_struct *mm);
void __pmap_inval_wait(struct mm_struct *mm);

/* Is it worth to ask for a hold of @mm, and do plain stores do under it? */
static __always_inline bool pmap_inval_hold_possible(struct mm_struct *mm)
{
	return static_branch_unlikely(&pmap_inval_hold_key) &&
	       __pmap_inval_hold_possible(mm);
}

/*
 * A CPU that is about to run @mm, and has said so, waits while @mm is held.
 * Nobody holds anything in the other modes, which cost nothing here.
 */
static __always_inline void pmap_inval_wait(struct mm_struct *mm)
{
	if (static_branch_unlikely(&pmap_inval_switch_key))
		__pmap_inval_wait(mm);
}

/**
 * pmap_inval_held() - are the CPUs that run the batch's address spaces held?
 * @info: the batch
 *
 * Asked after each pmap_inval_add(), since one that fails to hold more CPUs
 * lets go of all of them.
 *
 * Context: Any.
 * Return: true from a successful add until the flush. Interrupts are off then.
 */
static inline bool pmap_inval_held(const struct pmap_inval_info *info)
{
	return cpusync_held(&info->cs);
}

#else /* !CONFIG_X86_PMAP_INVAL */

static inline bool pmap_inval_enabled(void)
{
	return false;
}

static inline bool pmap_inval_catch_up_switch(struct mm_struct *mm, u16 asid,
					      bool loaded, u64 to)
{
	return false;
}

static inline bool pmap_inval_targets(const struct flush_tlb_info *f,
				      struct mm_struct *mm)
{
	return true;
}

static inline void pmap_inval_wait(struct mm_struct *mm)
{
}

#endif /* CONFIG_X86_PMAP_INVAL */

#endif /* _ASM_X86_PMAP_INVAL_H */
