// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of batched, precise TLB invalidation.
 *
 * The first half looks at records only and runs anywhere. The second half
 * looks at translations: a thread on another CPU reads user pages, their PTEs
 * are changed behind its back, and what it reads next tells whether its CPU
 * still has the old translation. A page that was changed but not registered
 * has to stay stale over a flush of its neighbours: that is what precise means.
 *
 * A TLB may lose an entry at any time. So a test that needs to see a stale one
 * tries again, up to ROUNDS times, before it gives up; the opposite, a
 * translation that is stale where it must not be, fails at once.
 *
 * Nothing is asserted while CPUs are held: it would leave them there.
 */

#include <kunit/test.h>
#include <linux/cpumask.h>
#include <linux/cpusync.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/hugetlb.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/mman.h>
#include <linux/mmu_context.h>
#include <linux/sched/mm.h>
#include <linux/uaccess.h>
#include <linux/vmstat.h>

#include <trace/events/cpusync.h>

#include <asm/hardirq.h>
#include <asm/pmap_inval.h>
#include <asm/tlb.h>
#include <asm/tlbflush.h>

#define ROUNDS		200
#define NR_PAGES	(PMAP_INVAL_MAXPIR + 1)
/* Far apart, and not all in the same set of a small TLB. */
#define STRIDE		(65 * PAGE_SIZE)
#define OLD		0x01dUL
#define NEW		0x3e77UL

/* Records */

static void record_init(struct pmap_inval_runs *runs)
{
	*runs = (struct pmap_inval_runs) { .on = true };
	pmap_inval_reset(runs, false);
}

static void expect_run(struct kunit *test, struct pmap_inval_runs *runs,
		       unsigned int i, unsigned long addr, unsigned long count,
		       unsigned int shift)
{
	unsigned long got_addr = 0, got_count;
	unsigned int got_shift = 0;

	KUNIT_ASSERT_GT(test, runs->nr_pir, i);
	got_count = pmap_inval_run(runs->pir_ary[i], 0, &got_addr, &got_shift);
	KUNIT_EXPECT_EQ(test, got_addr, addr);
	KUNIT_EXPECT_EQ(test, got_count, count);
	KUNIT_EXPECT_EQ(test, got_shift, shift);
}

static void sixteen_runs_are_kept(struct kunit *test)
{
	struct pmap_inval_runs runs;
	unsigned int i;

	record_init(&runs);
	for (i = 0; i < PMAP_INVAL_MAXPIR; i++)
		pmap_inval_record(&runs, SZ_4M + i * STRIDE, PAGE_SIZE, PAGE_SHIFT);

	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	KUNIT_EXPECT_EQ(test, runs.nr_pir, PMAP_INVAL_MAXPIR);
	KUNIT_EXPECT_EQ(test, runs.pir_npages, PMAP_INVAL_MAXPIR);
	for (i = 0; i < PMAP_INVAL_MAXPIR; i++)
		expect_run(test, &runs, i, SZ_4M + i * STRIDE, 1, PAGE_SHIFT);
}

static void seventeenth_run_overflows(struct kunit *test)
{
	struct pmap_inval_runs runs;
	unsigned int i;

	record_init(&runs);
	for (i = 0; i < PMAP_INVAL_MAXPIR + 1; i++)
		pmap_inval_record(&runs, SZ_4M + i * STRIDE, PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_OVERFLOW);

	/* And it stays dropped, whatever comes. */
	pmap_inval_record(&runs, SZ_4M, PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_OVERFLOW);

	/* Until it begins again. */
	pmap_inval_reset(&runs, false);
	pmap_inval_record(&runs, SZ_4M, PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	expect_run(test, &runs, 0, SZ_4M, 1, PAGE_SHIFT);
}

static void neighbours_make_one_run(struct kunit *test)
{
	struct pmap_inval_runs runs;

	record_init(&runs);
	pmap_inval_record(&runs, SZ_4M, PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_4M + PAGE_SIZE, 3 * PAGE_SIZE, PAGE_SHIFT);
	/* Again, inside and overlapping the end. */
	pmap_inval_record(&runs, SZ_4M + PAGE_SIZE, PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_4M + 3 * PAGE_SIZE, 2 * PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	KUNIT_EXPECT_EQ(test, runs.nr_pir, 1);
	KUNIT_EXPECT_EQ(test, runs.pir_npages, 5);
	expect_run(test, &runs, 0, SZ_4M, 5, PAGE_SHIFT);
}

static void address_inside_a_page_means_that_page(struct kunit *test)
{
	struct pmap_inval_info info;

	pmap_inval_init(&info, 0);
	pmap_inval_add(&info, &init_mm, SZ_4M, 1, PAGE_SHIFT);
	pmap_inval_add(&info, &init_mm, SZ_4M + PAGE_SIZE * 3 / 2, 2, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&info.runs), PMAP_INVAL_PRECISE);
	KUNIT_EXPECT_EQ(test, info.runs.nr_pir, 1);
	expect_run(test, &info.runs, 0, SZ_4M, 3, PAGE_SHIFT);
}

static void going_downwards_is_recorded(struct kunit *test)
{
	struct pmap_inval_runs runs;

	record_init(&runs);
	pmap_inval_record(&runs, SZ_4M + PAGE_SIZE, PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_4M, PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	expect_run(test, &runs, 0, SZ_4M + PAGE_SIZE, 1, PAGE_SHIFT);
	expect_run(test, &runs, 1, SZ_4M, 1, PAGE_SHIFT);
}

static void each_run_has_its_own_size(struct kunit *test)
{
	unsigned long top = round_down(TASK_SIZE_MAX - PUD_SIZE, PUD_SIZE);
	struct pmap_inval_runs runs;

	record_init(&runs);
	pmap_inval_record(&runs, 0, PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_2M, SZ_2M, PMD_SHIFT);
	/* Next to each other, yet of another size. */
	pmap_inval_record(&runs, SZ_4M, PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, top, PUD_SIZE, PUD_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	KUNIT_EXPECT_EQ(test, runs.nr_pir, 4);
	expect_run(test, &runs, 0, 0, 1, PAGE_SHIFT);
	expect_run(test, &runs, 1, SZ_2M, 1, PMD_SHIFT);
	expect_run(test, &runs, 2, SZ_4M, 1, PAGE_SHIFT);
	expect_run(test, &runs, 3, top, 1, PUD_SHIFT);
}

/* The ceiling that the suite is run with; it may be tuned in debugfs. */
#define CEILING		33

static void total_at_the_ceiling_is_precise(struct kunit *test)
{
	struct pmap_inval_runs runs;

	record_init(&runs);
	pmap_inval_record(&runs, SZ_1G, (CEILING - 2) * PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_4M, 2 * PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	KUNIT_EXPECT_EQ(test, runs.pir_npages, CEILING);
}

static void total_above_the_ceiling_is_full(struct kunit *test)
{
	struct pmap_inval_runs runs;
	unsigned int i;

	/* One by one, in one go, in several runs, and with a 2M page. */
	record_init(&runs);
	for (i = 0; i < CEILING + 1; i++)
		pmap_inval_record(&runs, SZ_4M + i * PAGE_SIZE, PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_CEILING);

	record_init(&runs);
	pmap_inval_record(&runs, SZ_4M, (CEILING + 1) * PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_CEILING);

	record_init(&runs);
	pmap_inval_record(&runs, SZ_1G, (CEILING - 2) * PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_4M, 3 * PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_CEILING);

	record_init(&runs);
	pmap_inval_record(&runs, SZ_1G, CEILING * PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_4M, SZ_2M, PMD_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_CEILING);
}

static void table_is_served_by_a_run_in_its_span(struct kunit *test)
{
	struct pmap_inval_runs runs;

	record_init(&runs);
	/* Ends in the second 2M of the 4M at 1G, and begins in the first. */
	pmap_inval_record(&runs, SZ_1G + SZ_2M - PAGE_SIZE, 2 * PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_1G, PAGE_SIZE, PMD_SHIFT);
	pmap_inval_record(&runs, SZ_1G + SZ_2M, PAGE_SIZE, PMD_SHIFT);
	/* The table above them. */
	pmap_inval_record(&runs, SZ_1G, PAGE_SIZE, PUD_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	KUNIT_EXPECT_EQ(test, runs.nr_pir, 1);

	/* The same if the run is closed already. */
	record_init(&runs);
	pmap_inval_record(&runs, SZ_1G, PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, 0, PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_1G + SZ_1M, PAGE_SIZE, PMD_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	KUNIT_EXPECT_EQ(test, runs.nr_pir, 2);
}

static void table_alone_is_invalidated_in_its_span(struct kunit *test)
{
	struct pmap_inval_runs runs;

	record_init(&runs);
	/* Runs right before and right after the span do not serve. */
	pmap_inval_record(&runs, SZ_1G - PAGE_SIZE, PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_1G + SZ_2M, PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, SZ_1G + SZ_1M, PAGE_SIZE, PMD_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	KUNIT_EXPECT_EQ(test, runs.nr_pir, 3);
	expect_run(test, &runs, 2, SZ_1G + SZ_1M, 1, PAGE_SHIFT);

	/* A large page that only spans it does not either. */
	record_init(&runs);
	pmap_inval_record(&runs, SZ_1G, SZ_1G, PUD_SHIFT);
	pmap_inval_record(&runs, SZ_1G + SZ_4M, PAGE_SIZE, PMD_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	expect_run(test, &runs, 1, SZ_1G + SZ_4M, 1, PAGE_SHIFT);
}

static void what_cannot_be_recorded_is_full(struct kunit *test)
{
	struct pmap_inval_runs runs;

	kunit_warning_suppress(test) {
		record_init(&runs);
		pmap_inval_record(&runs, 0, PGDIR_SIZE, PGDIR_SHIFT);
		KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_OVERFLOW);
	}
}

static void mode_is_latched(struct kunit *test)
{
	struct pmap_inval_runs runs;

	KUNIT_ASSERT_EQ(test, pmap_inval_set_mode("off"), 0);
	pmap_inval_begin(&runs);
	pmap_inval_reset(&runs, false);
	KUNIT_ASSERT_EQ(test, pmap_inval_set_mode("on"), 0);

	/* Something may have changed unrecorded: no record for this one. */
	pmap_inval_reset(&runs, false);
	pmap_inval_record(&runs, SZ_4M, PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_FALSE(test, runs.on);
	KUNIT_EXPECT_FALSE(test, runs.recording);

	pmap_inval_begin(&runs);
	pmap_inval_reset(&runs, false);
	KUNIT_ASSERT_EQ(test, pmap_inval_set_mode("off"), 0);
	pmap_inval_reset(&runs, false);
	pmap_inval_record(&runs, SZ_4M, PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	expect_run(test, &runs, 0, SZ_4M, 1, PAGE_SHIFT);

	KUNIT_EXPECT_EQ(test, pmap_inval_set_mode("sometimes"), -EINVAL);
	KUNIT_EXPECT_EQ(test, pmap_inval_set_mode(""), -EINVAL);
}

static void full_gather_is_not_recorded(struct kunit *test)
{
	struct pmap_inval_runs runs;

	record_init(&runs);
	pmap_inval_record(&runs, SZ_4M, PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_reset(&runs, true);
	pmap_inval_record(&runs, SZ_4M, PAGE_SIZE, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_ASKED);
}

/* Translations */

/*
 * A thread on another CPU that uses an mm. It spins rather than sleeps between
 * its orders, since a CPU that idles is in lazy TLB mode.
 */
struct reader {
	struct task_struct	*task;
	struct mm_struct	*mm;
	int			cpu;
	enum { ORDER_IDLE, ORDER_READ, ORDER_SLEEP, ORDER_WATCH, ORDER_IRQS_OFF,
	       ORDER_AWAY, ORDER_WRITE } order;
	unsigned long		addr;	/* what to read */
	unsigned long		value;	/* and what it read */
	unsigned long		base;	/* what to watch */
	struct mm_struct	*other;	/* what to run while away, if anything */
	unsigned long		loops;
	unsigned long		torn;	/* sets of pages that were half changed */
};

struct pages {
	struct mm_struct	*mm;
	unsigned long		base;
	struct page		*spare;
	pte_t			old[NR_PAGES];
};

struct ctx {
	struct pages		p;
	struct reader		r;
};

static unsigned long page_addr(struct pages *p, unsigned int i)
{
	return p->base + i * STRIDE;
}

static unsigned long user_read(unsigned long addr)
{
	unsigned long value = 0;

	/* Any failure reads as neither OLD nor NEW. */
	if (copy_from_user_nofault(&value, (void __user *)addr, sizeof(value)))
		return ~0UL;
	return value;
}

/* Read all pages while nobody can come in between. */
static void reader_watch(struct reader *r)
{
	unsigned long flags, first, i;
	bool torn = false;

	local_irq_save(flags);
	first = user_read(r->base);
	for (i = 1; i < PMAP_INVAL_MAXPIR; i++)
		torn |= user_read(r->base + i * STRIDE) != first;
	local_irq_restore(flags);

	r->torn += torn;
	WRITE_ONCE(r->loops, r->loops + 1);
}

/* Write to all pages of a page table while nobody can come in between. */
static void reader_write(struct reader *r)
{
	unsigned long addr, flags, value = OLD, nr = 0, failed = 0;

	local_irq_save(flags);
	for (addr = r->base; addr < ALIGN(r->base + 1, PMD_SIZE); addr += STRIDE) {
		nr++;
		failed += !!copy_to_user_nofault((void __user *)addr, &value, sizeof(value));
	}
	local_irq_restore(flags);

	r->torn += failed && failed != nr;
	WRITE_ONCE(r->loops, r->loops + 1);
}

/* What one side did before it changes the order, the other sees. */
static void reader_order(struct reader *r, int order)
{
	/* Pairs with reader_ordered(). */
	smp_store_release(&r->order, order);
}

static int reader_ordered(struct reader *r)
{
	/* Pairs with reader_order(). */
	return smp_load_acquire(&r->order);
}

static int reader_fn(void *data)
{
	struct reader *r = data;
	unsigned long flags;
	unsigned int i;

	kthread_use_mm(r->mm);
	while (!kthread_should_stop()) {
		switch (reader_ordered(r)) {
		case ORDER_READ:
			r->value = user_read(r->addr);
			reader_order(r, ORDER_IDLE);
			break;
		case ORDER_SLEEP:
			schedule_timeout_idle(HZ / 50);
			break;
		case ORDER_WATCH:
			reader_watch(r);
			break;
		case ORDER_WRITE:
			reader_write(r);
			break;
		case ORDER_IRQS_OFF:
			local_irq_save(flags);
			WRITE_ONCE(r->loops, r->loops + 1);
			/* Not for ever: somebody else may wait for this CPU. */
			for (i = 0; i < 1000000 && READ_ONCE(r->order) == ORDER_IRQS_OFF; i++)
				udelay(1);
			local_irq_restore(flags);
			break;
		case ORDER_AWAY:
			kthread_unuse_mm(r->mm);
			if (r->other)
				kthread_use_mm(r->other);
			WRITE_ONCE(r->loops, r->loops + 1);
			while (reader_ordered(r) == ORDER_AWAY && !kthread_should_stop())
				cond_resched();
			if (r->other)
				kthread_unuse_mm(r->other);
			kthread_use_mm(r->mm);
			break;
		case ORDER_IDLE:
			break;
		}
		cpu_relax();
		cond_resched();
	}
	kthread_unuse_mm(r->mm);
	return 0;
}

static void reader_stop(void *data)
{
	struct reader *r = data;

	reader_order(r, ORDER_IDLE);
	kthread_stop(r->task);
}

static void reader_start(struct kunit *test, struct reader *r,
			 struct mm_struct *mm, int cpu)
{
	r->mm = mm;
	r->cpu = cpu;
	r->task = kthread_create_on_cpu(reader_fn, r, cpu, "pmap_inval_kunit/%u");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, r->task);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, reader_stop, r), 0);
	wake_up_process(r->task);
}

static unsigned long reader_read(struct reader *r, unsigned long addr)
{
	r->addr = addr;
	reader_order(r, ORDER_READ);
	while (reader_ordered(r) != ORDER_IDLE)
		cond_resched();
	return r->value;
}

static unsigned long kicks(int cpu)
{
	return per_cpu(irq_stat, cpu).counts[IRQ_COUNT_TLB];
}

static void free_spare(void *page)
{
	__free_page(page);
}

/* Pages that read OLD, and one that reads NEW. */
static void pages_init(struct kunit *test, struct pages *p)
{
	unsigned int i;

	p->base = kunit_vm_mmap(test, NULL, 0, NR_PAGES * STRIDE,
				PROT_READ | PROT_WRITE,
				MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, p->base, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(p->base));
	p->mm = current->mm;

	for (i = 0; i < NR_PAGES; i++)
		KUNIT_ASSERT_EQ(test, put_user(OLD, (unsigned long __user *)page_addr(p, i)), 0);

	p->spare = alloc_page(GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p->spare);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, free_spare, p->spare), 0);
	*(unsigned long *)page_address(p->spare) = NEW;
}

/* No lock: the test owns the mm, whose tables stay. Also used in a hold. */
static pte_t page_xchg(struct pages *p, unsigned int i, pte_t pte)
{
	unsigned long addr = page_addr(p, i);
	pte_t *ptep = pte_offset_kernel(pmd_off(p->mm, addr), addr);

	return native_make_pte(xchg(&ptep->pte, native_pte_val(pte)));
}

/* Have the PTE of a page point to the new contents. Invalidates nothing. */
static void page_change(struct pages *p, unsigned int i)
{
	p->old[i] = page_xchg(p, i, mk_pte(p->spare, vm_get_page_prot(VM_READ)));
}

static void pages_restore(struct pages *p)
{
	unsigned int i;

	for (i = 0; i < NR_PAGES; i++) {
		if (pte_none(p->old[i]))
			continue;
		page_xchg(p, i, p->old[i]);
		p->old[i] = __pte(0);
	}
	flush_tlb_mm(p->mm);
}

/* The reader has all translations in its TLB, and then they change. */
static unsigned int pages_go_stale(struct pages *p, struct reader *r)
{
	unsigned int i, stale = 0;

	pages_restore(p);
	for (i = 0; i < NR_PAGES; i++)
		reader_read(r, page_addr(p, i));
	for (i = 0; i < NR_PAGES; i++)
		page_change(p, i);
	for (i = 0; i < NR_PAGES; i++)
		stale += reader_read(r, page_addr(p, i)) == OLD;
	return stale;
}

static struct ctx *ctx_init(struct kunit *test)
{
	struct ctx *c;
	int cpu;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs 2 CPUs, one to read on");

	c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, c);
	pages_init(test, &c->p);

	migrate_disable();
	cpu = cpumask_any_but(cpu_online_mask, smp_processor_id());
	reader_start(test, &c->r, c->p.mm, cpu);
	return c;
}

/* The same, and batches that ask for it hold CPUs. */
static struct ctx *ctx_init_hold(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_PREEMPT_RT))
		kunit_skip(test, "PREEMPT_RT has no holds");
	if (cpusync_oopsed())
		kunit_skip(test, "somebody has oopsed: there are no holds any more");

	KUNIT_ASSERT_EQ(test, pmap_inval_set_mode("hold"), 0);
	return ctx_init(test);
}

/* After every test, also a failed one: PTEs are the kernel's own again. */
static void ctx_done(struct ctx *c)
{
	pages_restore(&c->p);
	migrate_enable();
}

/*
 * Run @flush on stale pages: those with a bit in @fresh must be gone. The
 * others must stay, which is tried again if they do not.
 */
static void expect_flushed(struct kunit *test, struct ctx *c, unsigned long fresh,
			   void (*flush)(struct pages *p))
{
	unsigned int i, round, kept = 0, want = NR_PAGES - hweight_long(fresh);
	unsigned long value;
	bool tested = false;

	for (round = 0; round < ROUNDS && !(tested && kept == want); round++) {
		if (pages_go_stale(&c->p, &c->r) < NR_PAGES)
			continue;

		tested = true;
		kept = 0;
		flush(&c->p);
		for (i = 0; i < NR_PAGES; i++) {
			value = reader_read(&c->r, page_addr(&c->p, i));
			if (fresh & BIT(i))
				KUNIT_EXPECT_EQ_MSG(test, value, NEW, "page %u is stale", i);
			else
				kept += value == OLD;
		}
	}
	ctx_done(c);
	KUNIT_EXPECT_TRUE_MSG(test, tested, "never saw all pages stale");
	KUNIT_EXPECT_EQ_MSG(test, kept, want, "pages were flushed that were not registered");
}

static void add_pages(struct pmap_inval_info *info, struct pages *p,
		      unsigned int first, unsigned int nr)
{
	unsigned int i;

	for (i = first; i < first + nr; i++)
		pmap_inval_add(info, p->mm, page_addr(p, i), 1, PAGE_SHIFT);
}

static void flush_nothing(struct pages *p)
{
	struct pmap_inval_info info;

	pmap_inval_init(&info, 0);
	pmap_inval_flush(&info);
}

static void flush_one(struct pages *p)
{
	struct pmap_inval_info info;

	pmap_inval_init(&info, 0);
	add_pages(&info, p, 3, 1);
	pmap_inval_flush(&info);
}

static void flush_sixteen(struct pages *p)
{
	struct pmap_inval_info info;

	pmap_inval_init(&info, 0);
	add_pages(&info, p, 0, PMAP_INVAL_MAXPIR);
	pmap_inval_flush(&info);
}

static void flush_all_registered(struct pages *p)
{
	struct pmap_inval_info info;

	pmap_inval_init(&info, 0);
	pmap_inval_add_all(&info, p->mm);
	pmap_inval_flush(&info);
}

static void flush_overflow(struct pages *p)
{
	struct pmap_inval_info info;

	/* One run too many, and yet one page that is not registered. */
	pmap_inval_init(&info, 0);
	add_pages(&info, p, 0, PMAP_INVAL_MAXPIR);
	pmap_inval_add(&info, p->mm, page_addr(p, 0) + PAGE_SIZE, 1, PAGE_SHIFT);
	pmap_inval_add(&info, p->mm, page_addr(p, 0) + 4 * PAGE_SIZE, 1, PAGE_SHIFT);
	pmap_inval_flush(&info);
}

static void flush_after_a_gap(struct pages *p)
{
	struct pmap_inval_info info;

	/* Somebody else's flush, of which nothing is known. */
	inc_mm_tlb_gen(p->mm);
	pmap_inval_init(&info, 0);
	add_pages(&info, p, 0, 1);
	pmap_inval_flush(&info);
}

/* Page 7, by reclaim's way: the generation is taken, and nobody is told. */
static void flush_after_a_published_one(struct pages *p)
{
	flush_tlb_mm_later(p->mm, page_addr(p, 7), page_addr(p, 7) + PAGE_SIZE);
	flush_one(p);
}

static void flush_later_and_all(struct pages *p)
{
	struct arch_tlbflush_unmap_batch batch = { };
	unsigned int i;

	for (i = 0; i < 3; i++)
		arch_tlbbatch_add_pending(&batch, p->mm, page_addr(p, 2 * i),
					  page_addr(p, 2 * i) + PAGE_SIZE);
	arch_tlbbatch_flush(&batch);
}

/* Who changes the same page table does not wait for reclaim to flush. */
static void flush_what_is_later(struct pages *p)
{
	flush_tlb_mm_later(p->mm, page_addr(p, 9), page_addr(p, 9) + PAGE_SIZE);
	flush_tlb_mm_batched(p->mm);
}

/* As reclaim does, after somebody's flush of which nothing is known. */
static void flush_later_after_a_gap(struct pages *p)
{
	inc_mm_tlb_gen(p->mm);
	flush_later_and_all(p);
}

/* As reclaim does, after somebody's flush that frees page tables. */
static void flush_later_after_tables(struct pages *p)
{
	struct pmap_inval_runs runs;
	u8 nr;

	record_init(&runs);
	pmap_inval_record(&runs, page_addr(p, 6), PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_close(&runs);
	pmap_inval_publish(p->mm, &runs, 0, true, &nr);
	flush_later_and_all(p);
}

/* More generations than the log has slots for. */
static void flush_later_too_much(struct pages *p)
{
	unsigned int i;

	for (i = 0; i < PMAP_INVAL_LOG_SLOTS; i++)
		flush_tlb_mm_later(p->mm, page_addr(p, 0),
				   page_addr(p, 0) + PAGE_SIZE);
	flush_one(p);
}

static void flush_twice(struct pages *p)
{
	struct pmap_inval_info info;

	pmap_inval_init(&info, 0);
	add_pages(&info, p, 0, 1);
	pmap_inval_flush(&info);
	/* The batch is empty again: the second flush is of page 5 alone. */
	add_pages(&info, p, 5, 1);
	pmap_inval_flush(&info);
}

static void flush_while_off(struct pages *p)
{
	struct pmap_inval_info info;

	pmap_inval_set_mode("off");
	pmap_inval_init(&info, 0);
	add_pages(&info, p, 0, 1);
	pmap_inval_set_mode("on");
	pmap_inval_flush(&info);
}

static void stale_until_registered_and_flushed(struct kunit *test)
{
	expect_flushed(test, ctx_init(test), 0, flush_nothing);
}

/* Without a hold, the order of the two is free. */
static void change_after_registration_is_flushed(struct kunit *test)
{
	struct ctx *c = ctx_init(test);
	struct pmap_inval_info info;
	unsigned int round, stale = 0;

	for (round = 0; round < 5; round++) {
		pages_restore(&c->p);
		pmap_inval_init(&info, 0);
		add_pages(&info, &c->p, 0, 1);
		reader_read(&c->r, page_addr(&c->p, 0));
		page_change(&c->p, 0);
		pmap_inval_flush(&info);
		stale += reader_read(&c->r, page_addr(&c->p, 0)) != NEW;
	}
	ctx_done(c);
	KUNIT_EXPECT_EQ(test, stale, 0);
}

static void neighbours_survive_one_page(struct kunit *test)
{
	expect_flushed(test, ctx_init(test), BIT(3), flush_one);
}

static void sixteen_distant_pages_go_the_others_stay(struct kunit *test)
{
	expect_flushed(test, ctx_init(test), GENMASK(PMAP_INVAL_MAXPIR - 1, 0),
		       flush_sixteen);
}

static void batch_can_be_used_again(struct kunit *test)
{
	expect_flushed(test, ctx_init(test), BIT(0) | BIT(5), flush_twice);
}

static void overflow_flushes_all(struct kunit *test)
{
	expect_flushed(test, ctx_init(test), GENMASK(NR_PAGES - 1, 0), flush_overflow);
}

static void add_all_flushes_all(struct kunit *test)
{
	expect_flushed(test, ctx_init(test), GENMASK(NR_PAGES - 1, 0),
		       flush_all_registered);
}

static void missed_generation_flushes_all(struct kunit *test)
{
	expect_flushed(test, ctx_init(test), GENMASK(NR_PAGES - 1, 0),
		       flush_after_a_gap);
}

static struct ctx *ctx_init_log(struct kunit *test)
{
	struct ctx *c = ctx_init(test);

	pmap_inval_alloc_log(c->p.mm);
	KUNIT_ASSERT_NOT_NULL(test, c->p.mm->context.inval_log);
	return c;
}

static void published_generation_is_caught_up_with(struct kunit *test)
{
	expect_flushed(test, ctx_init_log(test), BIT(3) | BIT(7),
		       flush_after_a_published_one);
}

static void overwritten_generation_flushes_all(struct kunit *test)
{
	expect_flushed(test, ctx_init_log(test), GENMASK(NR_PAGES - 1, 0),
		       flush_later_too_much);
}

/* What it was about is flushed by who took it, and is not said to be. */
static void pending_generation_is_left_to_its_owner(struct kunit *test)
{
	struct ctx *c = ctx_init_log(test);
	unsigned long stale = 0;
	unsigned int i;

	expect_flushed(test, c, BIT(0), flush_after_a_gap);

	migrate_disable();
	pages_go_stale(&c->p, &c->r);
	inc_mm_tlb_gen(c->p.mm);
	flush_one(&c->p);
	/* Behind, so that the owner's flush is not taken to be done. */
	flush_all_registered(&c->p);
	for (i = 0; i < NR_PAGES; i++)
		stale += reader_read(&c->r, page_addr(&c->p, i)) != NEW;
	ctx_done(c);
	KUNIT_EXPECT_EQ(test, stale, 0);
}

static void reclaim_is_precise(struct kunit *test)
{
	expect_flushed(test, ctx_init_log(test), BIT(0) | BIT(2) | BIT(4),
		       flush_later_and_all);
}

static void what_reclaim_has_not_flushed_is_flushed_precisely(struct kunit *test)
{
	expect_flushed(test, ctx_init_log(test), BIT(9), flush_what_is_later);
}

static void reclaim_after_an_unknown_flush_flushes_all(struct kunit *test)
{
	expect_flushed(test, ctx_init_log(test), GENMASK(NR_PAGES - 1, 0),
		       flush_later_after_a_gap);
}

/* Whoever frees them is still going to kick this CPU. */
static void reclaim_after_freed_tables_is_precise(struct kunit *test)
{
	expect_flushed(test, ctx_init_log(test), BIT(0) | BIT(2) | BIT(4) | BIT(6),
		       flush_later_after_tables);
}

static void off_flushes_all(struct kunit *test)
{
	expect_flushed(test, ctx_init(test), GENMASK(NR_PAGES - 1, 0), flush_while_off);
}

/* The same of the CPU that flushes, while no other has run the mm. */
static void expect_flushed_here(struct kunit *test, unsigned long fresh,
				void (*flush)(struct pages *p))
{
	unsigned long was_stale = 0, is_stale = 0;
	unsigned int i, round;
	struct pages *p;
	bool alone;

	p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	/* For good: each case has a thread of its own. */
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(raw_smp_processor_id())), 0);
	pages_init(test, p);
	alone = cpumask_any_but(mm_cpumask(p->mm), raw_smp_processor_id()) >= nr_cpu_ids;

	for (round = 0; round < ROUNDS && was_stale != fresh && !is_stale; round++) {
		pages_restore(p);
		for (i = 0; i < NR_PAGES; i++)
			user_read(page_addr(p, i));
		for (i = 0; i < NR_PAGES; i++)
			page_change(p, i);
		was_stale = 0;
		for (i = 0; i < NR_PAGES; i++)
			was_stale |= user_read(page_addr(p, i)) == OLD ? fresh & BIT(i) : 0;
		flush(p);
		for (i = 0; i < NR_PAGES; i++)
			is_stale |= user_read(page_addr(p, i)) != NEW ? fresh & BIT(i) : 0;
	}
	pages_restore(p);
	KUNIT_EXPECT_TRUE(test, alone);
	KUNIT_EXPECT_EQ_MSG(test, was_stale, fresh, "never saw all pages stale");
	KUNIT_EXPECT_EQ_MSG(test, is_stale, 0, "these pages are stale");
}

static void this_cpu_invalidates_too(struct kunit *test)
{
	expect_flushed_here(test, GENMASK(PMAP_INVAL_MAXPIR - 1, 0), flush_sixteen);
}

static void what_reclaim_has_not_flushed_is_flushed_here(struct kunit *test)
{
	expect_flushed_here(test, BIT(9), flush_what_is_later);
}

/* As if an NMI had come. */
static bool okay_in_nmi(void)
{
	bool okay;

	__preempt_count_nmi_enter();
	okay = nmi_uaccess_okay();
	__preempt_count_nmi_exit();
	return okay;
}

/* This is a kthread, as those are that can take over an mm from lazy TLB mode. */
static void nmi_does_not_use_what_was_missed(struct kunit *test)
{
	bool before, lazy, missed, outside, after;
	unsigned long flags;
	struct pages *p;

	p = kunit_kzalloc(test, sizeof(*p), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, p);
	pages_init(test, p);

	flush_tlb_mm(p->mm);
	local_irq_save(flags);
	before = okay_in_nmi();
	this_cpu_write(cpu_tlbstate_shared.is_lazy, true);
	lazy = okay_in_nmi();
	this_cpu_write(cpu_tlbstate_shared.is_lazy, false);
	inc_mm_tlb_gen(p->mm);
	missed = okay_in_nmi();
	outside = nmi_uaccess_okay();
	local_irq_restore(flags);
	flush_tlb_mm(p->mm);
	local_irq_save(flags);
	after = okay_in_nmi();
	local_irq_restore(flags);

	KUNIT_EXPECT_TRUE(test, before);
	KUNIT_EXPECT_FALSE(test, lazy);
	KUNIT_EXPECT_FALSE(test, missed);
	KUNIT_EXPECT_TRUE(test, outside);
	KUNIT_EXPECT_TRUE(test, after);
}

static void one_kick_per_cpu(struct kunit *test)
{
	struct ctx *c = ctx_init(test);
	unsigned long before, empty, full;

	reader_read(&c->r, page_addr(&c->p, 0));
	before = kicks(c->r.cpu);
	flush_nothing(&c->p);
	empty = kicks(c->r.cpu) - before;
	flush_sixteen(&c->p);
	full = kicks(c->r.cpu) - before - empty;
	ctx_done(c);

	KUNIT_EXPECT_EQ(test, empty, 0);
	KUNIT_EXPECT_EQ(test, full, 1);
}

static void lazy_cpu_is_not_kicked_and_catches_up(struct kunit *test)
{
	struct ctx *c = ctx_init(test);
	unsigned int i, round, stale = 0, lazy = 0;
	unsigned long before, kicked = 0;

	for (round = 0; round < ROUNDS && !lazy; round++) {
		pages_go_stale(&c->p, &c->r);
		reader_order(&c->r, ORDER_SLEEP);
		for (i = 0; i < 100 && !lazy; i++) {
			cpu_relax();
			usleep_range(100, 200);
			preempt_disable();
			before = kicks(c->r.cpu);
			lazy = per_cpu(cpu_tlbstate_shared.is_lazy, c->r.cpu) &&
			       per_cpu(cpu_tlbstate.loaded_mm, c->r.cpu) == c->p.mm;
			if (lazy)
				flush_sixteen(&c->p);
			kicked = kicks(c->r.cpu) - before;
			/* It may have come back in between. */
			lazy &= per_cpu(cpu_tlbstate_shared.is_lazy, c->r.cpu);
			preempt_enable();
		}
		for (i = 0; lazy && i < PMAP_INVAL_MAXPIR; i++)
			stale += reader_read(&c->r, page_addr(&c->p, i)) != NEW;
	}
	ctx_done(c);

	KUNIT_EXPECT_EQ_MSG(test, lazy, 1, "the reader's CPU was never lazy");
	KUNIT_EXPECT_EQ(test, kicked, 0);
	KUNIT_EXPECT_EQ(test, stale, 0);
}

/*
 * Put the reader to sleep until its CPU is lazy, and run @flush meanwhile. The
 * pages of @fresh have to be gone when it is back, and others have to stay: in
 * the best round more than half of them, since what the CPU does in between
 * costs some, and a full flush all.
 */
static void expect_flushed_lazily(struct kunit *test, unsigned long fresh,
				  void (*flush)(struct pages *p))
{
	unsigned int i, round, kept, best = 0, stale = 0;
	unsigned int want = (NR_PAGES - hweight_long(fresh) + 1) / 2;
	struct ctx *c = ctx_init_log(test);
	bool lazy, tested = false;

	for (round = 0; round < ROUNDS && !(tested && best >= want); round++) {
		if (pages_go_stale(&c->p, &c->r) < NR_PAGES)
			continue;
		reader_order(&c->r, ORDER_SLEEP);
		for (i = 0, lazy = false; i < 100 && !lazy; i++) {
			usleep_range(100, 200);
			preempt_disable();
			lazy = per_cpu(cpu_tlbstate_shared.is_lazy, c->r.cpu) &&
			       per_cpu(cpu_tlbstate.loaded_mm, c->r.cpu) == c->p.mm;
			if (lazy)
				flush(&c->p);
			preempt_enable();
		}
		reader_order(&c->r, ORDER_IDLE);
		if (!lazy)
			continue;
		tested = true;
		kept = 0;
		for (i = 0; i < NR_PAGES; i++) {
			if (fresh & BIT(i))
				stale += reader_read(&c->r, page_addr(&c->p, i)) != NEW;
			else
				kept += reader_read(&c->r, page_addr(&c->p, i)) == OLD;
		}
		best = max(best, kept);
	}
	ctx_done(c);
	KUNIT_EXPECT_TRUE_MSG(test, tested, "the reader's CPU was never lazy");
	KUNIT_EXPECT_EQ(test, stale, 0);
	KUNIT_EXPECT_GE_MSG(test, best, want, "more was flushed than was missed");
}

static void flush_eight_times(struct pages *p)
{
	struct pmap_inval_info info;
	unsigned int i;

	pmap_inval_init(&info, 0);
	for (i = 0; i < 8; i++) {
		add_pages(&info, p, i, 1);
		pmap_inval_flush(&info);
	}
}

static void flush_with_a_gap(struct pages *p)
{
	flush_one(p);
	inc_mm_tlb_gen(p->mm);
	flush_one(p);
}

/* A lazy CPU that was not kicked for it, as after a switch. */
static void flush_with_tables(struct pages *p)
{
	struct pmap_inval_runs runs;
	u8 nr;

	record_init(&runs);
	pmap_inval_record(&runs, page_addr(p, 6), PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_close(&runs);
	pmap_inval_publish(p->mm, &runs, 0, true, &nr);
}

static void flush_seventeen(struct pages *p)
{
	flush_sixteen(p);
	flush_one(p);
}

/* A single generation, of more pages than a switch invalidates one by one. */
static void flush_long_run(struct pages *p)
{
	struct pmap_inval_info info;

	pmap_inval_init(&info, 0);
	pmap_inval_add(&info, p->mm, page_addr(p, 0), NR_PAGES, PAGE_SHIFT);
	pmap_inval_flush(&info);
}

/* A single one, about a huge page. */
static void flush_huge_page(struct pages *p)
{
	struct pmap_inval_info info;

	pmap_inval_init(&info, 0);
	pmap_inval_add(&info, p->mm, page_addr(p, 0) & PMD_MASK, 1, PMD_SHIFT);
	pmap_inval_flush(&info);
}

/* A vma of hugetlb, for what asks it for the size of its pages. */
static struct vm_area_struct hugetlb_vma;

/* The same, as hugetlb has it when it replaces a page: copied, migrated, poisoned. */
static void flush_hugetlb_page(struct pages *p)
{
	pte_t pte = __pte(_PAGE_PRESENT | _PAGE_PSE);

	hugetlb_vma.vm_mm = p->mm;
	huge_ptep_clear_flush(&hugetlb_vma, page_addr(p, 0) & PMD_MASK, &pte);
}

static void lazy_cpu_catches_up_precisely(struct kunit *test)
{
	expect_flushed_lazily(test, GENMASK(7, 0), flush_eight_times);
}

static void lazy_cpu_that_missed_an_unknown_flush_flushes_all(struct kunit *test)
{
	expect_flushed_lazily(test, GENMASK(NR_PAGES - 1, 0), flush_with_a_gap);
}

static void lazy_cpu_that_missed_freed_tables_flushes_all(struct kunit *test)
{
	expect_flushed_lazily(test, GENMASK(NR_PAGES - 1, 0), flush_with_tables);
}

static void lazy_cpu_that_missed_much_flushes_all(struct kunit *test)
{
	expect_flushed_lazily(test, GENMASK(NR_PAGES - 1, 0), flush_seventeen);
}

static void lazy_cpu_that_missed_a_long_run_flushes_all(struct kunit *test)
{
	expect_flushed_lazily(test, GENMASK(NR_PAGES - 1, 0), flush_long_run);
}

static void lazy_cpu_that_missed_a_huge_page_flushes_all(struct kunit *test)
{
	expect_flushed_lazily(test, GENMASK(NR_PAGES - 1, 0), flush_huge_page);
}

static void put_hugetlb_file(void *file)
{
	hugetlb_vma.vm_file = NULL;
	fput(file);
}

static void lazy_cpu_that_missed_a_hugetlb_page_flushes_all(struct kunit *test)
{
	struct file *file;

	if (!IS_ENABLED(CONFIG_HUGETLBFS))
		kunit_skip(test, "needs CONFIG_HUGETLBFS");

	file = hugetlb_file_setup("pmap_inval_kunit", PMD_SIZE,
				  mk_vma_flags(VMA_NORESERVE_BIT),
				  HUGETLB_ANONHUGE_INODE, PMD_SHIFT);
	if (PTR_ERR_OR_ZERO(file) == -ENODEV || PTR_ERR_OR_ZERO(file) == -ENOENT)
		kunit_skip(test, "needs hugetlb pages of %lu bytes", PMD_SIZE);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	hugetlb_vma.vm_file = file;
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_hugetlb_file, file), 0);
	vm_flags_init(&hugetlb_vma, VM_HUGETLB);
	expect_flushed_lazily(test, GENMASK(NR_PAGES - 1, 0), flush_hugetlb_page);
}

/* An mm of its own, with pages that have the same contents as the first. */
static int other_mm_fn(void *data)
{
	struct pages *p = data;
	unsigned int i;

	kthread_use_mm(p->mm);
	p->base = vm_mmap(NULL, 0, NR_PAGES * STRIDE, PROT_READ | PROT_WRITE,
			  MAP_ANONYMOUS | MAP_PRIVATE, 0);
	for (i = 0; i < NR_PAGES && !IS_ERR_VALUE(p->base); i++)
		if (put_user(OLD, (unsigned long __user *)page_addr(p, i)))
			p->base = -EFAULT;
	kthread_unuse_mm(p->mm);
	while (!kthread_should_stop())
		schedule_timeout_idle(1);
	return 0;
}

static void put_mm(void *mm)
{
	mmput(mm);
}

static void other_pages_init(struct kunit *test, struct pages *p)
{
	struct task_struct *task;

	p->mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, p->mm);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_mm, p->mm), 0);
	p->mm->task_size = TASK_SIZE;
	arch_pick_mmap_layout(p->mm, &current->signal->rlim[RLIMIT_STACK]);

	task = kthread_run(other_mm_fn, p, "pmap_inval_kunit");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, task);
	while (!READ_ONCE(p->base))
		schedule_timeout_idle(1);
	kthread_stop(task);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(p->base));
}

static void batch_mixes_address_spaces(struct kunit *test)
{
	struct ctx *c = ctx_init(test);
	unsigned int i, round, kept = 0, stale = 0, kicked = 0, here = 0;
	struct pmap_inval_info info;
	struct pages *other;
	struct reader *r;
	unsigned long before;
	bool had_all;

	/*
	 * This thread has the first mm; the reader that ctx_init() started has
	 * it as well, and is replaced by one that has the other mm.
	 */
	kunit_release_action(test, reader_stop, &c->r);
	migrate_enable();
	other = kunit_kzalloc(test, sizeof(*other), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, other);
	other_pages_init(test, other);
	other->spare = c->p.spare;
	r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, r);
	/* This thread may have come to where the first reader was. */
	migrate_disable();
	reader_start(test, r, other->mm, cpumask_any_but(cpu_online_mask, smp_processor_id()));

	for (round = 0; round < ROUNDS && !kept; round++) {
		pages_restore(&c->p);
		had_all = pages_go_stale(other, r) == NR_PAGES;
		user_read(page_addr(&c->p, 0));
		page_change(&c->p, 0);

		pmap_inval_init(&info, 0);
		pmap_inval_add(&info, c->p.mm, page_addr(&c->p, 0), 1, PAGE_SHIFT);
		add_pages(&info, other, 0, 4);
		pmap_inval_add(&info, c->p.mm, page_addr(&c->p, 1), 1, PAGE_SHIFT);
		before = kicks(r->cpu);
		pmap_inval_flush(&info);
		kicked = kicks(r->cpu) - before;

		here += user_read(page_addr(&c->p, 0)) != NEW;
		for (i = 0; i < 4; i++)
			stale += reader_read(r, page_addr(other, i)) != NEW;
		if (had_all && reader_read(r, page_addr(other, 5)) == OLD)
			kept++;
	}
	pages_restore(other);
	ctx_done(c);

	KUNIT_EXPECT_EQ_MSG(test, here, 0, "stale in the first mm");
	KUNIT_EXPECT_EQ_MSG(test, stale, 0, "stale in the other mm");
	KUNIT_EXPECT_EQ_MSG(test, kept, 1, "not precise in the other mm");
	KUNIT_EXPECT_EQ(test, kicked, 1);
}

static void too_many_address_spaces_flush_all(struct kunit *test)
{
	struct ctx *c = ctx_init(test);
	struct pmap_inval_info info;
	unsigned int i, stale = 0;

	pages_go_stale(&c->p, &c->r);
	pmap_inval_init(&info, 0);
	/* Told apart, but never looked into. */
	for (i = 0; i < PMAP_INVAL_MAXMM; i++)
		pmap_inval_add(&info, (struct mm_struct *)page_addr(&c->p, i),
			       SZ_4M, 1, PAGE_SHIFT);
	add_pages(&info, &c->p, 0, 1);
	pmap_inval_flush(&info);
	for (i = 0; i < NR_PAGES; i++)
		stale += reader_read(&c->r, page_addr(&c->p, i)) != NEW;
	ctx_done(c);

	KUNIT_EXPECT_EQ(test, stale, 0);
}

/* The log */

static void expect_found(struct kunit *test, struct pmap_inval_log *log, u64 gen,
			 u64 want, bool want_tables)
{
	bool tables = !want_tables;
	u64 run = ~want;

	KUNIT_EXPECT_EQ(test, pmap_inval_log_read(log, gen, &run, &tables),
			PMAP_INVAL_FOUND);
	KUNIT_EXPECT_EQ(test, run, want);
	KUNIT_EXPECT_EQ(test, tables, want_tables);
}

static void expect_missing(struct kunit *test, struct pmap_inval_log *log, u64 gen,
			   enum pmap_inval_found how)
{
	bool tables;
	u64 run;

	KUNIT_EXPECT_EQ(test, pmap_inval_log_read(log, gen, &run, &tables), how);
}

static void log_debug_init(struct pmap_inval_log *log)
{
#ifdef CONFIG_DEBUG_PMAP_INVAL
	raw_spin_lock_init(&log->debug_lock);
#endif
}

static struct pmap_inval_log *log_init(struct kunit *test)
{
	struct pmap_inval_log *log = kunit_kzalloc(test, sizeof(*log), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, log);
	log_debug_init(log);
	return log;
}

static void log_has_what_was_written(struct kunit *test)
{
	struct pmap_inval_log *log = log_init(test);
	u64 gen;

	expect_missing(test, log, 1, PMAP_INVAL_PENDING);
	for (gen = 1; gen <= PMAP_INVAL_LOG_SLOTS; gen++)
		pmap_inval_log_write(log, gen, gen * 77, gen & 1);
	for (gen = 1; gen <= PMAP_INVAL_LOG_SLOTS; gen++)
		expect_found(test, log, gen, gen * 77, gen & 1);
	expect_missing(test, log, gen, PMAP_INVAL_PENDING);
}

static void newer_generation_takes_the_slot(struct kunit *test)
{
	struct pmap_inval_log *log = log_init(test);
	u64 gen = 3 + PMAP_INVAL_LOG_SLOTS;

	pmap_inval_log_write(log, 3, 33, false);
	pmap_inval_log_write(log, gen, 44, true);
	expect_missing(test, log, 3, PMAP_INVAL_LOST);
	expect_found(test, log, gen, 44, true);

	/* Its owner was slow. */
	pmap_inval_log_write(log, 3, 33, false);
	expect_found(test, log, gen, 44, true);
}

static void claimed_slot_is_not_taken(struct kunit *test)
{
	struct pmap_inval_log *log = log_init(test);
	u64 gen = 5 + PMAP_INVAL_LOG_SLOTS;

	/* The owner of 5 has been preempted, and many flushes come and go. */
	log->slot[5].tag = 5 * PMAP_INVAL_GEN | PMAP_INVAL_BUSY;
	expect_missing(test, log, 5, PMAP_INVAL_PENDING);
	pmap_inval_log_write(log, gen, 44, false);
	expect_missing(test, log, gen, PMAP_INVAL_PENDING);
	KUNIT_EXPECT_EQ(test, log->slot[5].run, 0);

	log->slot[5].tag = gen * PMAP_INVAL_GEN | PMAP_INVAL_BUSY;
	expect_missing(test, log, gen, PMAP_INVAL_PENDING);
	expect_missing(test, log, 5, PMAP_INVAL_LOST);
	pmap_inval_log_write(log, 5, 33, false);
	pmap_inval_log_write(log, gen + PMAP_INVAL_LOG_SLOTS, 44, false);
	KUNIT_EXPECT_EQ(test, log->slot[5].run, 0);
}

static void run_of_any_size_is_kept(struct kunit *test)
{
	struct pmap_inval_runs runs;
	struct mm_struct *mm;
	u64 gen, first;
	u8 nr;

	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	mm = current->mm;
	record_init(&runs);
	pmap_inval_record(&runs, SZ_1G, SZ_1G, PUD_SHIFT);
	pmap_inval_record(&runs, SZ_4M, SZ_4M, PMD_SHIFT);
	pmap_inval_record(&runs, SZ_1M, 3 * PAGE_SIZE, PAGE_SHIFT);
	pmap_inval_record(&runs, -SZ_4M, PAGE_SIZE, PAGE_SHIFT);
	KUNIT_ASSERT_EQ(test, pmap_inval_close(&runs), PMAP_INVAL_PRECISE);
	expect_run(test, &runs, 3, -SZ_4M, 1, PAGE_SHIFT);

	/* Without a log, one generation is enough. */
	gen = pmap_inval_publish(mm, &runs, 0, false, &nr);
	KUNIT_EXPECT_EQ(test, nr, 1);

	pmap_inval_alloc_log(mm);
	KUNIT_ASSERT_NOT_NULL(test, mm->context.inval_log);
	first = gen + 1;
	gen = pmap_inval_publish(mm, &runs, 0, true, &nr);
	KUNIT_EXPECT_EQ(test, nr, 4);
	KUNIT_EXPECT_EQ(test, gen, first + 3);
	KUNIT_EXPECT_EQ(test, atomic64_read(&mm->context.tlb_gen), gen);
	for (; first <= gen; first++)
		expect_found(test, mm->context.inval_log, first,
			     runs.pir_ary[3 - (gen - first)], true);

	/* What is not known is not published. */
	gen = pmap_inval_publish(mm, NULL, 0, true, &nr);
	KUNIT_EXPECT_EQ(test, nr, 1);
	expect_missing(test, mm->context.inval_log, gen, PMAP_INVAL_PENDING);
}

/* Gathers that are open at the same time */

#define NR_GATHERS	(MMU_GATHER_NR_SPANS + 2)

struct gathers {
	struct mm_struct	*mm;
	struct mmu_gather	*tlb;	/* NR_GATHERS */
};

static void gathers_put(void *data)
{
	mmput(data);
}

/* The mm is nobody's, so that it does not matter how many threads it has. */
static struct gathers *gathers_init(struct kunit *test)
{
	struct gathers *g = kunit_kzalloc(test, sizeof(*g), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, g);
	g->tlb = kunit_kcalloc(test, NR_GATHERS, sizeof(*g->tlb), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, g->tlb);
	g->mm = mm_alloc();
	KUNIT_ASSERT_NOT_NULL(test, g->mm);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, gathers_put, g->mm), 0);
	pmap_inval_alloc_log(g->mm);
	KUNIT_ASSERT_NOT_NULL(test, g->mm->context.inval_log);
	return g;
}

/* Two gathers are open. Does the first one that ends flush everything? */
static void expect_meet(struct kunit *test, struct gathers *g,
			struct mmu_gather *first, struct mmu_gather *last,
			bool meet)
{
	tlb_finish_mmu(first);
	KUNIT_EXPECT_EQ(test, !!first->fullmm, meet);
	tlb_finish_mmu(last);
	KUNIT_EXPECT_FALSE(test, last->fullmm);
	KUNIT_EXPECT_EQ(test, atomic_read(&g->mm->tlb_flush_pending), 0);
}

static void gathers_meet_if_their_parts_overlap(struct kunit *test)
{
	static const struct {
		unsigned long start, end, start2, end2;
		bool meet;
	} parts[] = {
		{ SZ_4M, SZ_4M + PAGE_SIZE, SZ_4M, SZ_4M + PAGE_SIZE, true },
		{ SZ_4M, SZ_4M + PAGE_SIZE, SZ_4M + PAGE_SIZE, SZ_8M, false },
		{ SZ_4M, SZ_4M + 2 * PAGE_SIZE, SZ_4M + PAGE_SIZE, SZ_8M, true },
		{ SZ_4M, SZ_4M, 0, SZ_2M, false },
		/* In pages of 1G, also those that it begins and ends in. */
		{ 0, 5UL * SZ_1G, SZ_4M, SZ_4M + PAGE_SIZE, true },
		{ 0, 5UL * SZ_1G + PAGE_SIZE, 5UL * SZ_1G, 6UL * SZ_1G, true },
		{ 3UL * SZ_1G - PAGE_SIZE, 5UL * SZ_1G, SZ_2G, 3UL * SZ_1G, true },
		{ 3UL * SZ_1G - PAGE_SIZE, 5UL * SZ_1G, SZ_1G, SZ_2G, false },
		{ 3UL * SZ_1G - PAGE_SIZE, 5UL * SZ_1G, 5UL * SZ_1G, 6UL * SZ_1G, false },
		/* At the end of what a process can have, with five levels. */
		{ BIT(56) - SZ_4M, BIT(56), BIT(56) - PAGE_SIZE, BIT(56), true },
		{ BIT(56) - SZ_4M, BIT(56), 0, PAGE_SIZE, false },
		/* Nothing has that many pages: it may be anything. */
		{ 0, -PAGE_SIZE, SZ_4M, SZ_4M + PAGE_SIZE, true },
	};
	struct gathers *g = gathers_init(test);
	struct mmu_gather *a = &g->tlb[0], *b = &g->tlb[1];
	unsigned int i, order;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		for (order = 0; order < 2; order++) {
			tlb_gather_mmu_range(a, g->mm, parts[i].start, parts[i].end);
			tlb_gather_mmu_range(b, g->mm, parts[i].start2, parts[i].end2);
			expect_meet(test, g, order ? a : b, order ? b : a, parts[i].meet);
		}
	}
}

static void gather_meets_where_it_goes_on(struct kunit *test)
{
	struct gathers *g = gathers_init(test);
	struct mmu_gather *a = &g->tlb[0], *b = &g->tlb[1];

	tlb_gather_mmu_range(a, g->mm, 0, 0);
	tlb_gather_mmu_range(b, g->mm, SZ_4M, SZ_8M);
	expect_meet(test, g, a, b, false);

	tlb_gather_mmu_range(a, g->mm, 0, 0);
	tlb_gather_mmu_range(b, g->mm, SZ_4M, SZ_8M);
	tlb_gather_extend(a, SZ_8M, SZ_16M);
	expect_meet(test, g, b, a, false);

	/* What is in between counts. */
	tlb_gather_mmu_range(a, g->mm, 0, SZ_2M);
	tlb_gather_mmu_range(b, g->mm, SZ_4M, SZ_8M);
	tlb_gather_extend(a, SZ_8M, SZ_16M);
	expect_meet(test, g, b, a, true);

	/* So far that it may be anything. */
	tlb_gather_mmu_range(a, g->mm, 0, SZ_2M);
	tlb_gather_mmu_range(b, g->mm, SZ_4M, SZ_8M);
	tlb_gather_extend(a, SZ_16M, -PAGE_SIZE);
	expect_meet(test, g, a, b, true);
}

static void gather_that_says_nothing_meets_all(struct kunit *test)
{
	struct gathers *g = gathers_init(test);
	struct mmu_gather *a = &g->tlb[0], *b = &g->tlb[1];
	struct pmap_inval_log *log;

	tlb_gather_mmu(a, g->mm);
	tlb_gather_mmu_range(b, g->mm, SZ_4M, SZ_8M);
	expect_meet(test, g, b, a, true);

	tlb_gather_mmu(a, g->mm);
	tlb_gather_mmu_range(b, g->mm, SZ_4M, SZ_8M);
	expect_meet(test, g, a, b, true);

	/* Nor has it said anything while the mode is "off". */
	pmap_inval_set_mode("off");
	tlb_gather_mmu_range(a, g->mm, 0, SZ_2M);
	pmap_inval_set_mode("on");
	tlb_gather_mmu_range(b, g->mm, SZ_4M, SZ_8M);
	expect_meet(test, g, b, a, true);

	/* Nor has one that has begun before there was anything to say it to. */
	log = g->mm->context.inval_log;
	g->mm->context.inval_log = NULL;
	tlb_gather_mmu_range(a, g->mm, 0, SZ_2M);
	g->mm->context.inval_log = log;
	tlb_gather_mmu_range(b, g->mm, SZ_4M, SZ_8M);
	expect_meet(test, g, b, a, true);

	inc_tlb_flush_pending(g->mm);
	tlb_gather_mmu_range(b, g->mm, SZ_4M, SZ_8M);
	tlb_finish_mmu(b);
	KUNIT_EXPECT_TRUE(test, b->fullmm);
	dec_tlb_flush_pending(g->mm);
}

static void more_gathers_than_there_is_room_for_meet(struct kunit *test)
{
	struct gathers *g = gathers_init(test);
	unsigned int i;

	for (i = 0; i < MMU_GATHER_NR_SPANS; i++)
		tlb_gather_mmu_range(&g->tlb[i], g->mm, i * SZ_4M, (i + 1) * SZ_4M);
	/* All have room. */
	tlb_finish_mmu(&g->tlb[0]);
	KUNIT_EXPECT_FALSE(test, g->tlb[0].fullmm);
	/* So has who comes then, and who comes after him does not. */
	tlb_gather_mmu_range(&g->tlb[0], g->mm, 0, SZ_4M);
	tlb_gather_mmu_range(&g->tlb[i], g->mm, SZ_1G, SZ_2G);
	for (i = 0; i < MMU_GATHER_NR_SPANS; i++) {
		tlb_finish_mmu(&g->tlb[i]);
		KUNIT_EXPECT_TRUE(test, g->tlb[i].fullmm);
	}
	tlb_finish_mmu(&g->tlb[i]);
	KUNIT_EXPECT_FALSE(test, g->tlb[i].fullmm);
	KUNIT_EXPECT_EQ(test, atomic_read(&g->mm->tlb_flush_pending), 0);
}

/* Writers and readers of one small log, all at once. */
#define RACE_GENS	200000

struct race {
	struct pmap_inval_log	log;
	atomic64_t		gen;
	atomic_t		left;
	atomic_long_t		found;
	atomic_long_t		wrong;
};

static u64 race_run(u64 gen)
{
	return gen * 0x9e3779b97f4a7c15ULL;
}

static int race_fn(void *data)
{
	struct race *r = data;
	unsigned int i, back;
	bool tables;
	u64 gen, run;

	while ((gen = atomic64_inc_return(&r->gen)) <= RACE_GENS) {
		/* Now and then somebody is slow: a whole turn, or several. */
		for (i = 0; gen % 61 == 0 && i < (gen & 1023); i++)
			cpu_relax();
		pmap_inval_log_write(&r->log, gen, race_run(gen), gen & 1);

		for (back = 0; back < 4 && back < gen; back++) {
			if (pmap_inval_log_read(&r->log, gen - back, &run, &tables) !=
			    PMAP_INVAL_FOUND)
				continue;
			atomic_long_inc(&r->found);
			if (run != race_run(gen - back) || tables != ((gen - back) & 1))
				atomic_long_inc(&r->wrong);
		}
		if (gen % 1024 == 0)
			cond_resched();
	}
	atomic_dec(&r->left);
	while (!kthread_should_stop())
		schedule_timeout_idle(1);
	return 0;
}

static void log_is_not_torn(struct kunit *test)
{
	unsigned int i, nr = 2 * num_online_cpus();
	struct task_struct **task;
	struct race *r;

	r = kunit_kzalloc(test, sizeof(*r), GFP_KERNEL);
	task = kunit_kcalloc(test, nr, sizeof(*task), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, r);
	KUNIT_ASSERT_NOT_NULL(test, task);
	log_debug_init(&r->log);

	for (i = 0; i < nr; i++) {
		task[i] = kthread_run(race_fn, r, "pmap_inval_kunit");
		if (IS_ERR(task[i]))
			break;
		atomic_inc(&r->left);
	}
	while (atomic_read(&r->left))
		schedule_timeout_idle(1);
	while (i)
		kthread_stop(task[--i]);

	KUNIT_EXPECT_GT(test, atomic_long_read(&r->found), RACE_GENS / 2);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&r->wrong), 0);
}

/* Holds */

static void held_cpus_stand_still(struct kunit *test)
{
	struct ctx *c = ctx_init_hold(test);
	unsigned long before = 0, after = 0, loops;
	struct pmap_inval_info info;
	unsigned int i, round;
	bool held = false, off = false;

	c->r.base = c->p.base;
	reader_order(&c->r, ORDER_WATCH);

	for (round = 0; round < ROUNDS && !held; round++) {
		loops = READ_ONCE(c->r.loops);
		while (READ_ONCE(c->r.loops) == loops)
			cond_resched();

		pmap_inval_init(&info, PMAP_INVAL_HOLD);
		pmap_inval_add(&info, c->p.mm, page_addr(&c->p, 0), 1, PAGE_SHIFT);
		held = pmap_inval_held(&info);
		off = irqs_disabled();
		before = READ_ONCE(c->r.loops);
		for (i = 0; held && i < 10000; i++)
			cpu_relax();
		after = READ_ONCE(c->r.loops);
		pmap_inval_flush(&info);
	}
	loops = READ_ONCE(c->r.loops);
	while (READ_ONCE(c->r.loops) == loops)
		cond_resched();
	ctx_done(c);

	KUNIT_EXPECT_TRUE_MSG(test, held, "never held within the budget");
	KUNIT_EXPECT_TRUE(test, off);
	KUNIT_EXPECT_EQ(test, before, after);
	KUNIT_EXPECT_FALSE(test, irqs_disabled());
}

static void batch_changes_at_once(struct kunit *test)
{
	struct ctx *c = ctx_init_hold(test);
	unsigned int i, round, rounds = 0, stale = 0, torn = 0;
	struct pmap_inval_info info;
	unsigned long loops;
	bool held;

	c->r.base = c->p.base;

	for (round = 0; round < ROUNDS && rounds < 20; round++) {
		pages_restore(&c->p);
		c->r.torn = 0;
		reader_order(&c->r, ORDER_WATCH);
		loops = READ_ONCE(c->r.loops);
		while (READ_ONCE(c->r.loops) == loops)
			cond_resched();

		pmap_inval_init(&info, PMAP_INVAL_HOLD);
		add_pages(&info, &c->p, 0, PMAP_INVAL_MAXPIR);
		held = pmap_inval_held(&info);
		for (i = 0; held && i < PMAP_INVAL_MAXPIR; i++)
			page_change(&c->p, i);
		pmap_inval_flush(&info);

		loops = READ_ONCE(c->r.loops);
		while (READ_ONCE(c->r.loops) < loops + 2)
			cond_resched();
		reader_order(&c->r, ORDER_IDLE);
		if (!held)
			continue;

		/* The reads wait for whatever the reader is still doing. */
		rounds++;
		for (i = 0; i < PMAP_INVAL_MAXPIR; i++)
			stale += reader_read(&c->r, page_addr(&c->p, i)) != NEW;
		torn += c->r.torn;
	}
	ctx_done(c);

	KUNIT_EXPECT_GT_MSG(test, rounds, 0, "never held within the budget");
	KUNIT_EXPECT_EQ(test, stale, 0);
	KUNIT_EXPECT_EQ_MSG(test, torn, 0, "a reader saw a part of the batch");
}

/* One remote flush, as without a hold. */
#if defined(CONFIG_DEBUG_TLBFLUSH) && defined(CONFIG_VM_EVENT_COUNTERS)
static unsigned long remote_flushes(void)
{
	static unsigned long all[NR_VM_EVENT_ITEMS];

	all_vm_events(all);
	return all[NR_TLB_REMOTE_FLUSH];
}

/* Of holds that the reader was in, or was not. Others may flush meanwhile. */
static unsigned long least_counted(struct ctx *c, bool in, unsigned long want)
{
	unsigned long before, least = ULONG_MAX;
	struct pmap_inval_info info;
	unsigned int round;
	bool held;

	for (round = 0; round < ROUNDS && least != want; round++) {
		before = remote_flushes();
		pmap_inval_init(&info, PMAP_INVAL_HOLD);
		add_pages(&info, &c->p, 0, 2);
		held = pmap_inval_held(&info) &&
		       cpumask_test_cpu(c->r.cpu, cpusync_held_mask(&info.cs)) == in;
		pmap_inval_flush(&info);
		if (held)
			least = min(least, remote_flushes() - before);
	}
	return least;
}

static void held_flush_is_counted(struct kunit *test)
{
	struct ctx *c = ctx_init_hold(test);
	unsigned long one, none, loops;

	reader_read(&c->r, page_addr(&c->p, 0));
	one = least_counted(c, true, 1);

	loops = READ_ONCE(c->r.loops);
	reader_order(&c->r, ORDER_AWAY);
	while (READ_ONCE(c->r.loops) == loops)
		cond_resched();
	none = least_counted(c, false, 0);
	reader_order(&c->r, ORDER_IDLE);
	ctx_done(c);

	KUNIT_EXPECT_EQ_MSG(test, one, 1, "or never held within the budget");
	KUNIT_EXPECT_EQ_MSG(test, none, 0, "counted, and there was nobody to hold");
}
#else
static void held_flush_is_counted(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_DEBUG_TLBFLUSH and CONFIG_VM_EVENT_COUNTERS");
}
#endif

static void refused_hold_still_flushes(struct kunit *test)
{
	struct ctx *c = ctx_init(test);
	struct pmap_inval_info info;
	unsigned int stale = 0;
	bool held;

	KUNIT_ASSERT_EQ(test, pmap_inval_set_mode("on"), 0);
	pages_go_stale(&c->p, &c->r);
	pmap_inval_init(&info, PMAP_INVAL_HOLD);
	add_pages(&info, &c->p, 0, 1);
	held = pmap_inval_held(&info);
	pmap_inval_flush(&info);
	stale += reader_read(&c->r, page_addr(&c->p, 0)) != NEW;
	ctx_done(c);

	KUNIT_EXPECT_FALSE_MSG(test, held, "held while the mode is 'on'");
	KUNIT_EXPECT_EQ(test, stale, 0);
}

static void cpu_that_does_not_come_backs_the_hold_out(struct kunit *test)
{
	struct ctx *c = ctx_init_hold(test);
	struct pmap_inval_info info;
	unsigned long loops = c->r.loops;
	unsigned int stale = 0;
	bool held, off;

	pages_go_stale(&c->p, &c->r);
	reader_order(&c->r, ORDER_IRQS_OFF);
	while (READ_ONCE(c->r.loops) == loops)
		cond_resched();
	pmap_inval_init(&info, PMAP_INVAL_HOLD);
	add_pages(&info, &c->p, 0, 1);
	held = pmap_inval_held(&info);
	off = irqs_disabled();
	/* Now it would come, but this batch goes on without. */
	reader_order(&c->r, ORDER_IDLE);
	add_pages(&info, &c->p, 1, 1);
	held |= pmap_inval_held(&info);
	off |= irqs_disabled();
	pmap_inval_flush(&info);
	stale += reader_read(&c->r, page_addr(&c->p, 0)) != NEW;
	stale += reader_read(&c->r, page_addr(&c->p, 1)) != NEW;
	ctx_done(c);

	KUNIT_EXPECT_FALSE(test, held);
	KUNIT_EXPECT_FALSE(test, off);
	KUNIT_EXPECT_EQ(test, stale, 0);
}

/*
 * A CPU that is not among those that are held begins to run the mm, coming from
 * @other or from lazy TLB mode. It gets there after the hold, and sees what was
 * changed by then.
 */
static void expect_kept_out(struct kunit *test, struct mm_struct *other)
{
	unsigned int i, round, rounds = 0, early = 0, stale = 0;
	struct pmap_inval_info info;
	struct reader *late;
	unsigned long loops;
	struct ctx *c;
	bool came;
	int cpu;

	if (num_online_cpus() < 3)
		kunit_skip(test, "needs 3 CPUs, one to hold and one that comes later");

	late = kunit_kzalloc(test, sizeof(*late), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, late);
	late->other = other;
	c = ctx_init_hold(test);
	for_each_online_cpu(cpu)
		if (cpu != smp_processor_id() && cpu != c->r.cpu)
			break;
	reader_start(test, late, c->p.mm, cpu);

	for (round = 0; round < ROUNDS && rounds < 5; round++) {
		pages_restore(&c->p);
		/* What it has cached now is stale when it comes back. */
		reader_read(late, page_addr(&c->p, 0));
		loops = READ_ONCE(late->loops);
		reader_order(late, ORDER_AWAY);
		while (READ_ONCE(late->loops) == loops)
			cond_resched();

		pmap_inval_init(&info, PMAP_INVAL_HOLD);
		add_pages(&info, &c->p, 0, 1);
		came = false;
		if (pmap_inval_held(&info)) {
			late->addr = page_addr(&c->p, 0);
			reader_order(late, ORDER_READ);
			for (i = 0; i < 100000 && !came; i++) {
				udelay(1);
				came = !per_cpu(cpu_tlbstate_shared.is_lazy, cpu) &&
				       per_cpu(cpu_tlbstate.loaded_mm, cpu) != other;
			}
			/* Time enough to read, if it could. */
			for (i = 0; came && i < 2000; i++)
				udelay(1);
			early += reader_ordered(late) == ORDER_IDLE;
			page_change(&c->p, 0);
		} else {
			reader_order(late, ORDER_IDLE);
		}
		pmap_inval_flush(&info);
		while (reader_ordered(late) != ORDER_IDLE)
			cond_resched();
		if (!came)
			continue;
		rounds++;
		stale += late->value != NEW;
	}
	ctx_done(c);

	KUNIT_EXPECT_GT_MSG(test, rounds, 0, "never held within the budget while a third came");
	KUNIT_EXPECT_EQ_MSG(test, early, 0, "ran the mm during a hold");
	KUNIT_EXPECT_EQ(test, stale, 0);
}

static void cpu_that_leaves_lazy_mode_waits_for_a_hold(struct kunit *test)
{
	expect_kept_out(test, NULL);
}

static void cpu_that_switches_waits_for_a_hold(struct kunit *test)
{
	struct pages *other = kunit_kzalloc(test, sizeof(*other), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, other);
	other_pages_init(test, other);
	expect_kept_out(test, other->mm);
}

static void batch_can_hold_again(struct kunit *test)
{
	struct ctx *c = ctx_init_hold(test);
	struct pmap_inval_info info;
	unsigned int i, round, held = 0, stale = 0;

	for (round = 0; round < ROUNDS && held < 2; round++) {
		pages_go_stale(&c->p, &c->r);
		held = 0;
		pmap_inval_init(&info, PMAP_INVAL_HOLD);
		for (i = 0; i < 2; i++) {
			add_pages(&info, &c->p, i, 1);
			held += pmap_inval_held(&info);
			pmap_inval_flush(&info);
			stale += reader_read(&c->r, page_addr(&c->p, i)) != NEW;
		}
	}
	ctx_done(c);

	KUNIT_EXPECT_EQ_MSG(test, held, 2, "never held twice within the budget");
	KUNIT_EXPECT_EQ(test, stale, 0);
}

/* Nobody waits for who may have died, and who survives tells those who went on. */
static void oops_ends_a_hold_and_the_wait_for_it(struct kunit *test)
{
	unsigned int i, round, came = 0, early = 0, stale = 0, again = 0;
	struct pmap_inval_info info;
	struct reader *late;
	unsigned long loops;
	struct ctx *c;
	int cpu;

	if (num_online_cpus() < 3)
		kunit_skip(test, "needs 3 CPUs, one to hold and one that comes later");

	late = kunit_kzalloc(test, sizeof(*late), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, late);
	c = ctx_init_hold(test);
	for_each_online_cpu(cpu)
		if (cpu != smp_processor_id() && cpu != c->r.cpu)
			break;
	reader_start(test, late, c->p.mm, cpu);

	for (round = 0; round < ROUNDS && !came; round++) {
		pages_restore(&c->p);
		reader_read(&c->r, page_addr(&c->p, 0));
		loops = READ_ONCE(late->loops);
		reader_order(late, ORDER_AWAY);
		while (READ_ONCE(late->loops) == loops)
			cond_resched();

		pmap_inval_init(&info, PMAP_INVAL_HOLD);
		add_pages(&info, &c->p, 0, 1);
		late->addr = page_addr(&c->p, 0);
		reader_order(late, ORDER_READ);
		if (pmap_inval_held(&info)) {
			for (i = 0; i < 100000 && !came; i++) {
				udelay(1);
				came = !per_cpu(cpu_tlbstate_shared.is_lazy, cpu);
			}
			WRITE_ONCE(oops_in_progress, 1);
			for (i = 0; i < 1000000 && reader_ordered(late) != ORDER_IDLE; i++)
				udelay(1);
			WRITE_ONCE(oops_in_progress, 0);
			early = reader_ordered(late) == ORDER_IDLE;
			page_change(&c->p, 0);
		}
		pmap_inval_flush(&info);
		while (reader_ordered(late) != ORDER_IDLE)
			cond_resched();
	}
	stale += reader_read(late, page_addr(&c->p, 0)) != NEW;
	stale += reader_read(&c->r, page_addr(&c->p, 0)) != NEW;

	pmap_inval_init(&info, PMAP_INVAL_HOLD);
	add_pages(&info, &c->p, 1, 1);
	again = pmap_inval_held(&info);
	pmap_inval_flush(&info);
	ctx_done(c);

	KUNIT_EXPECT_EQ_MSG(test, came, 1, "never held within the budget while a third came");
	KUNIT_EXPECT_EQ_MSG(test, early, 1, "still waits");
	KUNIT_EXPECT_EQ(test, stale, 0);
	KUNIT_EXPECT_EQ_MSG(test, again, 0, "is held again");
}

/* Is the replaced entry returned as the CPUs have left it, and gone from them? */
static void entry_is_replaced_and_compared(struct kunit *test)
{
	struct ctx *c = ctx_init_hold(test);
	unsigned long addr = page_addr(&c->p, 0), stale = 0;
	pte_t *ptep = pte_offset_kernel(pmd_off(c->p.mm, addr), addr);
	pte_t young, old, was, spare;
	bool same, other;

	spare = mk_pte(c->p.spare, vm_get_page_prot(VM_READ));
	reader_read(&c->r, addr);
	old = READ_ONCE(*ptep);
	young = pte_mkyoung(pte_mkdirty(pte_wrprotect(old)));

	was = pmap_inval_replace_pte(c->p.mm, addr, ptep, spare);
	stale += reader_read(&c->r, addr) != NEW;
	spare = READ_ONCE(*ptep);
	other = pmap_inval_cmpset_pte(c->p.mm, addr, ptep, young, old);
	same = pmap_inval_cmpset_pte(c->p.mm, addr, ptep, spare, old);
	stale += reader_read(&c->r, addr) != OLD;
	ctx_done(c);

	KUNIT_EXPECT_EQ(test, native_pte_val(was), native_pte_val(old));
	KUNIT_EXPECT_FALSE_MSG(test, other, "replaced what was not there");
	KUNIT_EXPECT_TRUE(test, same);
	KUNIT_EXPECT_EQ(test, stale, 0);
}

static void count_hold(void *data, smp_call_func_t func,
		       const struct cpumask *mask, u64 wait, u64 held,
		       unsigned int lost)
{
	if (func == flush_tlb_held)
		(*(unsigned long *)data)++;
}

struct backouts {
	struct task_struct *of;
	unsigned int nr;
};

static void count_backout(void *data, smp_call_func_t func, const struct cpumask *mask,
			  const struct cpumask *absent, u64 wait, unsigned int why)
{
	struct backouts *b = data;

	b->nr += func == flush_tlb_held && current == b->of;
}

static struct ctx *ctx_init_hold_mprotect(struct kunit *test)
{
	if (IS_ENABLED(CONFIG_PAGE_TABLE_CHECK))
		kunit_skip(test, "mprotect() has no holds with CONFIG_PAGE_TABLE_CHECK");
	if (!IS_ENABLED(CONFIG_TRACEPOINTS))
		kunit_skip(test, "needs tracepoints to see what becomes of holds");

	return ctx_init_hold(test);
}

/* As mprotect() does it, without the flush at its end. */
static void protect_begin(struct mmu_gather *tlb, struct mm_struct *mm, unsigned long addr,
			  unsigned long size, bool writable)
{
	struct vm_area_struct *vma;

	mmap_write_lock(mm);
	vma = vma_lookup(mm, addr);
	vma_start_write(vma);
	if (writable)
		vm_flags_set(vma, VM_WRITE);
	else
		vm_flags_clear(vma, VM_WRITE);
	vma_set_page_prot(vma);
	tlb_gather_mmu(tlb, mm);
	change_protection(tlb, vma, addr, addr + size,
			  writable ? MM_CP_TRY_CHANGE_WRITABLE : 0);
}

static void protect_end(struct mmu_gather *tlb)
{
	struct mm_struct *mm = tlb->mm;

	tlb_finish_mmu(tlb);
	mmap_write_unlock(mm);
}

/* One page table of it. */
static void protect(struct mm_struct *mm, unsigned long addr, bool writable)
{
	struct mmu_gather tlb;

	protect_begin(&tlb, mm, addr, PMD_SIZE, writable);
	protect_end(&tlb);
}

/* Who did not come for one page table is not waited for with the next ones. */
static void protection_backs_out_once(struct kunit *test)
{
	struct ctx *c = ctx_init_hold_mprotect(test);
	struct backouts backouts = { .of = current };
	unsigned long loops = c->r.loops, stale;
	struct mm_struct *mm = c->p.mm;
	struct mmu_gather tlb;

	KUNIT_ASSERT_EQ(test, register_trace_cpusync_backout(count_backout, &backouts), 0);
	reader_order(&c->r, ORDER_IRQS_OFF);
	while (READ_ONCE(c->r.loops) == loops)
		cond_resched();
	protect_begin(&tlb, mm, c->p.base, NR_PAGES * STRIDE, false);
	reader_order(&c->r, ORDER_IDLE);
	protect_end(&tlb);
	stale = !copy_to_user_nofault((void __user *)page_addr(&c->p, NR_PAGES - 1),
				      &loops, sizeof(loops));
	unregister_trace_cpusync_backout(count_backout, &backouts);
	tracepoint_synchronize_unregister();
	protect_begin(&tlb, mm, c->p.base, NR_PAGES * STRIDE, true);
	protect_end(&tlb);
	ctx_done(c);

	KUNIT_EXPECT_EQ(test, backouts.nr, 1);
	KUNIT_EXPECT_EQ_MSG(test, stale, 0, "still writable");
}

/* A writer may write to all pages of a page table, or to none, all the time. */
static void protection_changes_at_once(struct kunit *test)
{
	struct ctx *c = ctx_init_hold_mprotect(test);
	unsigned long base = ALIGN(c->p.base, PMD_SIZE), first;
	unsigned long holds = 0, before, loops;
	unsigned int round, rounds = 0, torn = 0, late = 0, lost = 0, i;
	struct mm_struct *mm = c->p.mm;
	bool failed;

	KUNIT_ASSERT_EQ(test, register_trace_cpusync_hold(count_hold, &holds), 0);
	first = c->p.base + roundup(base - c->p.base, STRIDE);
	c->r.base = first;

	for (round = 0; round < ROUNDS && rounds < 20; round++) {
		for (i = 0; i < 2; i++) {
			c->r.torn = 0;
			reader_order(&c->r, ORDER_WRITE);
			loops = READ_ONCE(c->r.loops);
			while (READ_ONCE(c->r.loops) == loops)
				cond_resched();

			before = holds;
			protect(mm, base, i);
			loops = READ_ONCE(c->r.loops);
			while (READ_ONCE(c->r.loops) < loops + 2)
				cond_resched();
			reader_order(&c->r, ORDER_IDLE);
			/* The read waits for what the reader is still doing. */
			reader_read(&c->r, first);
			if (holds != before + 1)
				continue;
			rounds++;
			torn += c->r.torn;
			failed = copy_to_user_nofault((void __user *)first,
						      &loops, sizeof(loops));
			late += !i && !failed;
			lost += i && failed;
		}
	}
	protect(mm, base, true);
	unregister_trace_cpusync_hold(count_hold, &holds);
	tracepoint_synchronize_unregister();
	ctx_done(c);

	KUNIT_EXPECT_GT_MSG(test, rounds, 0, "never held within the budget");
	KUNIT_EXPECT_EQ_MSG(test, torn, 0, "a writer saw a part of it");
	KUNIT_EXPECT_EQ(test, late, 0);
	KUNIT_EXPECT_EQ(test, lost, 0);
}

/* Every case leaves the CPU, and the mode, as it was. */
static int suite_init_case(struct kunit *test)
{
	KUNIT_ASSERT_FALSE(test, irqs_disabled());
	KUNIT_ASSERT_EQ(test, preempt_count(), 0);
	return pmap_inval_set_mode("on");
}

static void suite_exit_case(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, irqs_disabled());
	KUNIT_EXPECT_EQ(test, preempt_count(), 0);
	pmap_inval_set_mode("on");
}

static struct kunit_case pmap_inval_cases[] = {
	KUNIT_CASE(sixteen_runs_are_kept),
	KUNIT_CASE(seventeenth_run_overflows),
	KUNIT_CASE(neighbours_make_one_run),
	KUNIT_CASE(going_downwards_is_recorded),
	KUNIT_CASE(address_inside_a_page_means_that_page),
	KUNIT_CASE(each_run_has_its_own_size),
	KUNIT_CASE(total_at_the_ceiling_is_precise),
	KUNIT_CASE(total_above_the_ceiling_is_full),
	KUNIT_CASE(table_is_served_by_a_run_in_its_span),
	KUNIT_CASE(table_alone_is_invalidated_in_its_span),
	KUNIT_CASE(what_cannot_be_recorded_is_full),
	KUNIT_CASE(mode_is_latched),
	KUNIT_CASE(full_gather_is_not_recorded),
	KUNIT_CASE(log_has_what_was_written),
	KUNIT_CASE(newer_generation_takes_the_slot),
	KUNIT_CASE(claimed_slot_is_not_taken),
	KUNIT_CASE(run_of_any_size_is_kept),
	KUNIT_CASE(gathers_meet_if_their_parts_overlap),
	KUNIT_CASE(gather_meets_where_it_goes_on),
	KUNIT_CASE(gather_that_says_nothing_meets_all),
	KUNIT_CASE(more_gathers_than_there_is_room_for_meet),
	KUNIT_CASE_SLOW(log_is_not_torn),
	KUNIT_CASE(this_cpu_invalidates_too),
	KUNIT_CASE(nmi_does_not_use_what_was_missed),
	KUNIT_CASE(stale_until_registered_and_flushed),
	KUNIT_CASE(change_after_registration_is_flushed),
	KUNIT_CASE(neighbours_survive_one_page),
	KUNIT_CASE(sixteen_distant_pages_go_the_others_stay),
	KUNIT_CASE(batch_can_be_used_again),
	KUNIT_CASE(overflow_flushes_all),
	KUNIT_CASE(add_all_flushes_all),
	KUNIT_CASE(missed_generation_flushes_all),
	KUNIT_CASE(published_generation_is_caught_up_with),
	KUNIT_CASE(overwritten_generation_flushes_all),
	KUNIT_CASE(pending_generation_is_left_to_its_owner),
	KUNIT_CASE(reclaim_is_precise),
	KUNIT_CASE(what_reclaim_has_not_flushed_is_flushed_precisely),
	KUNIT_CASE(what_reclaim_has_not_flushed_is_flushed_here),
	KUNIT_CASE(reclaim_after_an_unknown_flush_flushes_all),
	KUNIT_CASE(reclaim_after_freed_tables_is_precise),
	KUNIT_CASE(off_flushes_all),
	KUNIT_CASE(one_kick_per_cpu),
	KUNIT_CASE(lazy_cpu_is_not_kicked_and_catches_up),
	KUNIT_CASE(lazy_cpu_catches_up_precisely),
	KUNIT_CASE(lazy_cpu_that_missed_an_unknown_flush_flushes_all),
	KUNIT_CASE(lazy_cpu_that_missed_freed_tables_flushes_all),
	KUNIT_CASE(lazy_cpu_that_missed_much_flushes_all),
	KUNIT_CASE(lazy_cpu_that_missed_a_long_run_flushes_all),
	KUNIT_CASE(lazy_cpu_that_missed_a_huge_page_flushes_all),
	KUNIT_CASE(lazy_cpu_that_missed_a_hugetlb_page_flushes_all),
	KUNIT_CASE(batch_mixes_address_spaces),
	KUNIT_CASE(too_many_address_spaces_flush_all),
	KUNIT_CASE(held_cpus_stand_still),
	KUNIT_CASE(batch_changes_at_once),
	KUNIT_CASE(held_flush_is_counted),
	KUNIT_CASE(refused_hold_still_flushes),
	KUNIT_CASE(cpu_that_does_not_come_backs_the_hold_out),
	KUNIT_CASE(cpu_that_leaves_lazy_mode_waits_for_a_hold),
	KUNIT_CASE(cpu_that_switches_waits_for_a_hold),
	KUNIT_CASE(batch_can_hold_again),
	KUNIT_CASE(oops_ends_a_hold_and_the_wait_for_it),
	KUNIT_CASE(entry_is_replaced_and_compared),
	KUNIT_CASE(protection_changes_at_once),
	KUNIT_CASE(protection_backs_out_once),
	{}
};

static struct kunit_suite pmap_inval_suite = {
	.name = "pmap_inval",
	.init = suite_init_case,
	.exit = suite_exit_case,
	.test_cases = pmap_inval_cases,
};

kunit_test_suite(pmap_inval_suite);

MODULE_DESCRIPTION("KUnit tests of batched, precise TLB invalidation");
MODULE_LICENSE("GPL");
