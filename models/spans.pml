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
#ifndef SLOTS
#define SLOTS	3		/* for spans */
#endif
#ifndef REACH
#define REACH	0		/* coverage: claim that this never happens */
#endif
#define reached(n)	assert(REACH != (n))

#define NONE	0
#define KNOWN	1		/* says its range when it begins */
#define GROWS	2		/* says the first page, and more as it goes */
#define UNKNOWN	3		/* a gather that says nothing, or the only user */
#define OUTSIDE	4		/* no gather: clear_refs and the like, always flush all */

#define BIT(n)	(1 << (n))
/* The translation of a page that the nth mapping gave */
#define ENTRY(p, n)	BIT((p) * (REMAPS + 1) + (n))

byte mapped = BIT(PAGES) - 1, maps[PAGES];
short stale;			/* entries that a CPU may have, and the page table has not */

/* Of the mm. pending and said are one word of it, each slot is another one. */
byte slot[SLOTS], said, pending, running;

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

/* A slot for the mask, if there is one that is free. */
inline say(mask)
{
	mine = SLOTS;
	if
	:: kind < UNKNOWN ->
		do
		:: j < SLOTS && mine == SLOTS ->
			if
			:: !slot[j] -> slot[j] = mask; mine = j
			:: else
			fi;
			j++
		:: else -> break
		od;
		j = 0;
		if
		:: mine == SLOTS -> reached(4)
		:: else
		fi
	:: else
	fi
}

inline counted()
{
	pending++;
	if
	:: mine < SLOTS -> said++
	:: else
	fi
}

inline uncounted()
{
	pending--;
	if
	:: mine < SLOTS -> said--
	:: else
	fi
}

inline unsay()
{
	if
	:: mine < SLOTS -> slot[mine] = 0; mine = SLOTS
	:: else
	fi
}

#ifdef COUNT_APART
#define SEEN	seen
#else
#define SEEN	pending
#endif

/* Nobody else, or somebody who has not said what he changes? */
inline look_at_count()
{
	if
	:: kind == OUTSIDE -> all = true
	:: kind < OUTSIDE && SEEN == 1 -> o = SLOTS
	:: kind < OUTSIDE && SEEN > 1 && mine == SLOTS -> all = true
#ifndef UNSAID_IGNORED
	:: kind < OUTSIDE && SEEN > 1 && mine < SLOTS && SEEN != said -> all = true
#endif
	:: else
	fi
}

inline look_at_slot()
{
	if
	:: o != mine && (slot[o] & range) -> all = true
	:: else
	fi;
	o++
}

/* tlb_finish_mmu(): is the record not enough? One word at a time. */
inline look()
{
#ifdef COUNT_APART
	atomic { true -> seen = pending; }
#endif
	atomic { true -> look_at_count(); }
	do
	:: atomic { !all && o < SLOTS -> look_at_slot(); }
	:: atomic { all || o >= SLOTS ->
		if
		:: !all && mine < SLOTS && pending > 1 -> reached(2)
		:: else
		fi;
		o = 0;
#ifdef RULE_REMOVED
		all = false;
#endif
		break }
	od
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
	byte range, recorded, p, n, o, j, k, mine = SLOTS;
#ifdef COUNT_APART
	byte seen;
#endif
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
#ifdef SAY_LATE
		}
		atomic { true -> change(p); }
		atomic { true ->
#endif
		if
		:: kind == GROWS -> say(BIT(p))
		:: else -> say(range)
		fi }
		atomic { true -> counted(); }
#ifdef LOOK_FIRST
		look();
#endif
		do
		:: atomic { range & BIT(p) ->
#ifdef GROW_LATE
			change(p); }
			atomic { kind == GROWS ->
			slot[mine] = slot[mine] | BIT(p); p++; }
#else
			if
			:: kind == GROWS && mine < SLOTS && !(slot[mine] & BIT(p)) ->
#ifdef GIVE_UP
				said--; slot[mine] = 0; mine = SLOTS
#else
				slot[mine] = slot[mine] | BIT(p)
#endif
			:: else -> change(p); p++
			fi }
#endif
		/* The batch of pages is full. */
		:: atomic { recorded && (range & BIT(p)) && kind < OUTSIDE -> all = false; flush(); }
		:: atomic { !(range & BIT(p)) -> p = 0; break }
		od;
#ifndef LOOK_FIRST
		look();
#endif
#ifdef UNSAY_FIRST
		atomic { true -> uncounted(); unsay(); }
		atomic { true -> flush(); }
#else
		atomic { true -> flush(); }
		atomic { true -> uncounted(); }
		atomic { true -> unsay(); }
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
		assert(!pending && !said && !slot[0] && !slot[SLOTS - 1] && !stale); }
}
