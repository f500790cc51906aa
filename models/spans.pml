// SPDX-License-Identifier: GPL-2.0
/*
 * The registry of spans of mmu_gather: see README.md for what is modelled, and
 * how far. Parameters and negative controls are macros (spin -D...).
 *
 * Each thread changes the entries of a range and flushes. Who finds an entry
 * changed already records nothing, and still may not return while any CPU can
 * use the old one. A flush is one step here: log.pml is about those.
 */
#ifndef PAGES
#define PAGES	3
#endif
#ifndef OPS
#define OPS	1		/* calls of each thread */
#endif
#ifndef REMAPS
#define REMAPS	1		/* page faults that map a page again */
#endif
#ifndef KIND0
#define KIND0	KNOWN
#endif
#ifndef KIND1
#define KIND1	KNOWN
#endif
#ifndef KIND2
#define KIND2	NONE
#endif
#ifndef REACH
#define REACH	0		/* coverage: claim that this never happens */
#endif
#define reached(n)	assert(REACH != (n))

#define NONE	0
#define KNOWN	1		/* registers its range when it begins */
#define GROWS	2		/* registers the first page, and more as it goes */
#define UNKNOWN	3		/* a gather that registers nothing, or the only user */
#define OUTSIDE	4		/* no gather: clear_refs and the like, always flush all */

#define BIT(n)	(1 << (n))
/* The translation of a page that the nth mapping gave */
#define ENTRY(p, n)	BIT((p) * (REMAPS + 1) + (n))

byte mapped = BIT(PAGES) - 1, maps[PAGES];
short stale;			/* entries that a CPU may have, and the page table has not */

/* Of the mm. Each step that uses span[] or registered is under its lock. */
byte span[3], registered, pending, running;

/* All entries of the pages in a mask, up to the present mapping. */
inline entries(mask, into)
{
	into = 0; k = 0;
	do
	:: k < PAGES ->
		j = 0;
		do
		:: j <= maps[k] ->
			if
			:: (mask) & BIT(k) -> into = into | ENTRY(k, j)
			:: else
			fi;
			j++
		:: else -> break
		od;
		k++
	:: else -> break
	od;
	k = 0; j = 0
}

/* Under the page-table lock */
inline change(p)
{
	if
	:: mapped & BIT(p) ->
		mapped = mapped & ~BIT(p);
		stale = stale | ENTRY(p, maps[p]);
		recorded = recorded | BIT(p)
	:: else -> reached(1)
	fi
}

inline link(mask)
{
	pending++; registered++; span[me] = mask
}

inline unlink()
{
	pending--;
	if
	:: kind < UNKNOWN -> registered--; span[me] = 0
	:: else
	fi
}

#ifdef RULE_REMOVED
#define NOT_ENOUGH	false
#elif defined(UNREGISTERED_IGNORED)
#define NOT_ENOUGH	(span[me] & o)
#else
#define NOT_ENOUGH	((span[me] & o) || pending != registered)
#endif

/* tlb_finish_mmu(): is the record not enough? */
inline look()
{
	o = span[(me + 1) % 3] | span[(me + 2) % 3];
	if
	:: kind < UNKNOWN ->
		/* Another span that overlaps, or somebody who has none. */
		all = NOT_ENOUGH
	:: kind == UNKNOWN -> all = (pending > 1)
	:: kind == OUTSIDE -> all = true
	fi;
	if
	:: !all && kind < UNKNOWN && pending > 1 -> reached(2)
	:: else
	fi;
	o = 0
}

inline flush()
{
	if
	:: all -> stale = 0
	:: else -> entries(recorded, bits); stale = stale & ~bits; bits = 0
	fi;
	recorded = 0
}

proctype Thread(byte me; byte kind)
{
	byte range, recorded, p, n, o, j, k;
	short must, bits;
	bool all;

	do
	:: atomic { n < OPS ->
		n++;
		if
		:: range = 1
		:: range = 2
		:: range = 3
#if PAGES == 3
		:: range = 6
		:: range = 7
#endif
		fi;
		entries(range, must);
		p = !(range & 1);
#ifdef REGISTER_LATE
		}
		atomic { true -> change(p); }
		atomic { true ->
#endif
		if
		:: kind == KNOWN -> link(range)
		:: kind == GROWS -> link(BIT(p))
		:: kind >= UNKNOWN -> pending++
		fi }
#ifdef LOOK_FIRST
		atomic { true -> look(); }
#endif
		do
		:: atomic { range & BIT(p) ->
#ifdef GROW_LATE
			change(p); }
			atomic { kind == GROWS ->
			span[me] = span[me] | BIT(p); p++; }
#else
			if
			:: kind == GROWS && !(span[me] & BIT(p)) ->
				span[me] = span[me] | BIT(p)
			:: else -> change(p); p++
			fi }
#endif
		/* The batch of pages is full. */
		:: atomic { recorded && (range & BIT(p)) && kind < OUTSIDE -> all = false; flush(); }
		:: atomic { !(range & BIT(p)) -> p = 0;
#ifndef LOOK_FIRST
			look();
#endif
			break }
		od;
#ifdef UNLINK_FIRST
		atomic { true -> unlink(); }
		atomic { true -> flush(); }
#else
		atomic { true -> flush(); }
		atomic { true -> unlink(); }
#endif
		atomic { true ->
			assert(!(stale & must));	/* the law */
			must = 0; range = 0; all = false; }
	:: atomic { n == OPS -> running--; break }
	od
}

/* Page faults, of whom does not matter. */
proctype Fault()
{
	byte p;

	do
	:: atomic { p < PAGES && !(mapped & BIT(p)) && maps[p] < REMAPS ->
		maps[p] = maps[p] + 1; mapped = mapped | BIT(p); reached(3); }
	:: p < PAGES -> p++
	:: p == PAGES -> break
	od
}

init {
	atomic {
		running = 2 + (KIND2 != NONE);
		run Thread(0, KIND0); run Thread(1, KIND1);
		if
		:: KIND2 != NONE -> run Thread(2, KIND2)
		:: else
		fi;
		run Fault();
	}
	atomic { timeout ->
		assert(!running);
		assert(!pending && !registered && !span[0] && !span[1] && !span[2] && !stale); }
}
