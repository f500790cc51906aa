// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit suite "tlb_promote": which change of a page-table entry needs a flush?
 *
 * The oracle does not know the rules of pte_flags_need_flush(). It knows what a
 * cached translation lets a program do, and asks whether the old entry, if it
 * is still cached, is good for anything that the new one is not.
 *
 * QEMU's emulation never keeps a translation that forbids an access, so the
 * fault that a promotion may cost is made by hand.
 */
#include <kunit/test.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/vmstat.h>

#include <asm/pmap_inval.h>
#include <asm/tlb.h>

enum access { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC, ACCESS_SHADOW, NR_ACCESS };

static bool permits(unsigned long flags, enum access access)
{
	bool shadow = !(flags & _PAGE_RW) && (flags & _PAGE_DIRTY);

	if (!(flags & _PAGE_PRESENT))
		return false;
	switch (access) {
	case ACCESS_READ:
		return true;
	case ACCESS_WRITE:
		return flags & _PAGE_RW;
	case ACCESS_EXEC:
		return !(flags & _PAGE_NX);
	default:
		return shadow;
	}
}

/* Whom the page belongs to, its size, memory type and key: all must agree. */
#define KIND	(_PAGE_USER | _PAGE_PWT | _PAGE_PCD | _PAGE_PSE | _PAGE_GLOBAL | \
		 _PAGE_PAT_LARGE | _PAGE_PKEY_BIT0 | _PAGE_PKEY_BIT1 |		\
		 _PAGE_PKEY_BIT2 | _PAGE_PKEY_BIT3)

/* May a CPU, or somebody who waits for a bit to be set, be misled? */
static bool misleads(unsigned long oldflags, unsigned long newflags, bool young)
{
	enum access a;

	if (!(oldflags & _PAGE_PRESENT))
		return false;
	for (a = 0; a < NR_ACCESS; a++)
		if (permits(oldflags, a) && !permits(newflags, a))
			return true;
	if ((oldflags ^ newflags) & KIND)
		return true;
	/* A write through a dirty translation sets no bit in the entry. */
	if (oldflags & ~newflags & _PAGE_DIRTY)
		return true;
	return young && (oldflags & ~newflags & _PAGE_ACCESSED);
}

/* What the base flushes on top: a permission that is new. */
static bool gives(unsigned long oldflags, unsigned long newflags)
{
	return (~oldflags & newflags & _PAGE_RW) || (oldflags & ~newflags & _PAGE_NX);
}

static bool shadow_stack(unsigned long flags)
{
	return permits(flags, ACCESS_SHADOW);
}

static const unsigned long bits[] = {
	_PAGE_PRESENT, _PAGE_RW, _PAGE_USER, _PAGE_ACCESSED, _PAGE_DIRTY,
	_PAGE_PSE, _PAGE_PKEY_BIT0, _PAGE_NX, _PAGE_SAVED_DIRTY, _PAGE_UFFD,
};

static const unsigned long more_bits[] = {
	0, _PAGE_PWT, _PAGE_PCD, _PAGE_GLOBAL, _PAGE_PAT_LARGE, _PAGE_PKEY_BIT1,
	_PAGE_PKEY_BIT2, _PAGE_PKEY_BIT3, _PAGE_SPECIAL, _PAGE_SOFT_DIRTY,
};

static unsigned long flags_of(unsigned int combination)
{
	unsigned long flags = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bits); i++)
		if (combination & BIT(i))
			flags |= bits[i];
	return flags;
}

struct tally {
	unsigned long pairs, promoted, kept;
};

/* Returns what is wrong with the answers for one pair, NULL if nothing is. */
static const char *check_one(unsigned long o, unsigned long n, bool young,
			     struct tally *t)
{
	bool need;

	need = pte_flags_need_flush(o, n, !young, false);
	if (need != (misleads(o, n, young) || gives(o, n)))
		return "without promotion: not what the base does";

	need = pte_flags_need_flush(o, n, !young, true);
	if (misleads(o, n, young) && !need)
		return "with promotion: a needed flush is left out";
	if (need && !misleads(o, n, young) && !shadow_stack(o))
		return "with promotion: a flush is not needed";
	if (need && !misleads(o, n, young))
		t->kept++;
	if (!need && __pte_promoted(o, n) != gives(o, n))
		return "a promotion that is not called one, or something else that is";
	if (!need && gives(o, n))
		t->promoted++;
	return NULL;
}

static const char *check(unsigned long o, unsigned long n, struct tally *t)
{
	const char *bad;

	t->pairs++;
	/* pte_flags_need_flush() is not asked then. */
	if (!(o & _PAGE_PRESENT))
		return NULL;

	bad = check_one(o, n, false, t);
	return bad ?: check_one(o, n, true, t);
}

static void all_pairs_of_flags(struct kunit *test)
{
	unsigned int i, j, k;
	struct tally t = { };
	const char *bad;

	for (k = 0; k < ARRAY_SIZE(more_bits); k++) {
		for (i = 0; i < BIT(ARRAY_SIZE(bits)); i++) {
			/* All bits against all; one more that changes, against its like. */
			for (j = 0; j < BIT(ARRAY_SIZE(bits)); j += k ? 5 + i % 7 : 1) {
				unsigned long o = flags_of(i), n = flags_of(j) | more_bits[k];

				bad = check(o, n, &t);
				if (!bad && k)
					bad = check(n, o, &t);
				if (!bad)
					continue;
				KUNIT_FAIL(test, "%s: %#lx -> %#lx", bad, o, n);
				return;
			}
		}
	}
	kunit_info(test, "%lu pairs, %lu promotions, %lu flushes kept for shadow stacks\n",
		   t.pairs, t.promoted, t.kept);
	KUNIT_EXPECT_GT(test, t.promoted, 0);
	KUNIT_EXPECT_GT(test, t.kept, 0);
}

#define FRAME	0x1234UL
#define BASE	(_PAGE_PRESENT | _PAGE_USER | _PAGE_ACCESSED | _PAGE_NX)

static pte_t entry(unsigned long pfn, unsigned long flags)
{
	return native_make_pte((pfn << PAGE_SHIFT) | flags);
}

static pmd_t huge(unsigned long pfn, unsigned long flags)
{
	return native_make_pmd((pfn << PMD_SHIFT) | _PAGE_PSE | flags);
}

static void promotions_are_named(struct kunit *test)
{
	pte_t ro = entry(FRAME, BASE), rw = entry(FRAME, BASE | _PAGE_RW);
	pte_t rx = entry(FRAME, BASE & ~_PAGE_NX);
	pte_t shstk = entry(FRAME, BASE | _PAGE_DIRTY);
	pte_t none = entry(FRAME, (BASE & ~_PAGE_PRESENT) | _PAGE_PROTNONE);

	KUNIT_ASSERT_TRUE(test, pte_promotion_enabled());

	KUNIT_EXPECT_FALSE(test, pte_needs_flush(ro, rw));
	KUNIT_EXPECT_TRUE(test, pte_promoted(ro, rw));
	KUNIT_EXPECT_FALSE(test, pte_needs_flush(ro, rx));
	KUNIT_EXPECT_TRUE(test, pte_promoted(ro, rx));
	KUNIT_EXPECT_TRUE(test, pte_needs_flush(rw, ro));
	KUNIT_EXPECT_TRUE(test, pte_needs_flush(rx, ro));
	/* One permission for another. */
	KUNIT_EXPECT_TRUE(test, pte_needs_flush(rw, rx));
	KUNIT_EXPECT_TRUE(test, pte_needs_flush(rx, rw));
	KUNIT_EXPECT_TRUE(test, pte_needs_flush(shstk, rw));
	/* Nothing is cached, so nothing is promoted, either. */
	KUNIT_EXPECT_FALSE(test, pte_needs_flush(none, rw));
	KUNIT_EXPECT_FALSE(test, pte_promoted(none, rw));
	KUNIT_EXPECT_TRUE(test, pte_needs_flush(rw, none));
	/* Another page. */
	KUNIT_EXPECT_TRUE(test, pte_needs_flush(ro, entry(FRAME + 1, BASE | _PAGE_RW)));
}

static void huge_pages_are_promoted_alike(struct kunit *test)
{
	pmd_t ro = huge(FRAME, BASE), rw = huge(FRAME, BASE | _PAGE_RW);
	pmd_t wt = huge(FRAME, BASE | _PAGE_RW | _PAGE_PAT_LARGE);
	pmd_t old = huge(FRAME, (BASE | _PAGE_RW) & ~_PAGE_ACCESSED);

	KUNIT_EXPECT_FALSE(test, huge_pmd_needs_flush(ro, rw));
	KUNIT_EXPECT_TRUE(test, huge_pmd_promoted(ro, rw));
	KUNIT_EXPECT_TRUE(test, huge_pmd_needs_flush(rw, ro));
	KUNIT_EXPECT_TRUE(test, huge_pmd_needs_flush(ro, wt));
	KUNIT_EXPECT_TRUE(test, huge_pmd_needs_flush(ro, old));
	KUNIT_EXPECT_TRUE(test, huge_pmd_needs_flush(ro, huge(FRAME + 1, BASE | _PAGE_RW)));

#define PTE(pmd)	__pte(pmd_val(pmd))
	KUNIT_EXPECT_FALSE(test, huge_pte_needs_flush(PTE(ro), PTE(rw)));
	KUNIT_EXPECT_TRUE(test, huge_pte_promoted(PTE(ro), PTE(rw)));
	KUNIT_EXPECT_TRUE(test, huge_pte_needs_flush(PTE(rw), PTE(ro)));
	KUNIT_EXPECT_TRUE(test, huge_pte_needs_flush(PTE(ro), PTE(wt)));
	KUNIT_EXPECT_TRUE(test, huge_pte_needs_flush(PTE(ro), PTE(old)));
	KUNIT_EXPECT_FALSE(test, huge_pte_needs_flush(PTE(ro), PTE(ro)));
}

/* The access that a cached translation forbids, and the entry permits. */
#if defined(CONFIG_DEBUG_TLBFLUSH) && defined(CONFIG_VM_EVENT_COUNTERS)
static unsigned long events(enum vm_event_item item)
{
	static unsigned long all[NR_VM_EVENT_ITEMS];

	all_vm_events(all);
	return all[item];
}

static void the_fault_finds_nothing_to_do(struct kunit *test)
{
	unsigned int flags = FAULT_FLAG_USER | FAULT_FLAG_WRITE;
	struct vm_area_struct *vma;
	unsigned long at, before;
	vm_fault_t first, again;

	KUNIT_ASSERT_EQ(test, kunit_attach_mm(), 0);
	at = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			   MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(at));

	mmap_read_lock(current->mm);
	vma = find_vma(current->mm, at);
	first = handle_mm_fault(vma, at, flags, NULL);
	before = events(NR_TLB_SPURIOUS_FAULT);
	again = handle_mm_fault(vma, at, flags, NULL);
	mmap_read_unlock(current->mm);

	KUNIT_EXPECT_EQ(test, (__force int)(first & VM_FAULT_ERROR), 0);
	KUNIT_EXPECT_EQ(test, (__force int)again, 0);
	/* Other tasks run, and may have one, too. */
	KUNIT_EXPECT_GE(test, events(NR_TLB_SPURIOUS_FAULT), before + 1);
}
#else
static void the_fault_finds_nothing_to_do(struct kunit *test)
{
	kunit_skip(test, "needs CONFIG_DEBUG_TLBFLUSH and CONFIG_VM_EVENT_COUNTERS");
}
#endif

static struct kunit_case tlb_promote_cases[] = {
	KUNIT_CASE_SLOW(all_pairs_of_flags),
	KUNIT_CASE(promotions_are_named),
	KUNIT_CASE(huge_pages_are_promoted_alike),
	KUNIT_CASE(the_fault_finds_nothing_to_do),
	{}
};

static struct kunit_suite tlb_promote_suite = {
	.name		= "tlb_promote",
	.test_cases	= tlb_promote_cases,
};

kunit_test_suite(tlb_promote_suite);

MODULE_DESCRIPTION("KUnit test: page-table changes that need no TLB flush");
MODULE_LICENSE("GPL");
