// SPDX-License-Identifier: GPL-2.0
/*
 * The invalidation log of an mm, and the catch-up of its CPUs: see README.md for
 * what is modelled, and how far. Parameters and negative controls are macros
 * (spin -D...), listed there.
 *
 * Every change has a page, a bit and a number of its own, so that invalidating
 * something else instead never helps. TLBs are as bad as they can be: whenever a
 * CPU can have an entry cached it has it, and again as soon as it was
 * invalidated. What the protocol does depends on no TLB, so nothing is lost.
 */
#ifndef NSLOT
#define NSLOT	2		/* slots of the ring */
#endif
#ifndef OPS0
#define OPS0	1		/* flushes of CPU 0 */
#endif
#ifndef OPS1
#define OPS1	1		/* flushes of CPU 1 */
#endif
#ifndef KINDS0
#define KINDS0	ONE		/* what they can be, a mask */
#endif
#ifndef KINDS1
#define KINDS1	ONE
#endif
#ifndef RECLAIM
#define RECLAIM	0		/* flushes of reclaim, which no CPU of this model runs */
#endif
#ifndef MOVES
#define MOVES	0		/* of CPU 2: goes lazy, away, back */
#endif
#ifndef CEILING
#define CEILING	9		/* runs that are invalidated one by one */
#endif
#ifndef PCID
#define PCID	1		/* translations survive that another mm is loaded */
#endif
#ifndef FOREIGN
#define FOREIGN	0		/* 1: CPU 1 flushes, and has something else loaded */
#endif
#ifndef FINE
#define FINE	0		/* message passing in single steps, see README.md */
#endif
#ifndef REACH
#define REACH	0		/* coverage: claim that this never happens */
#endif
#define reached(n)	assert(REACH != (n))

#define NCPU	3
#define ONE	1		/* one run */
#define TWO	2		/* two runs, and generations */
#define FULL	4		/* not recorded */
#define FREED	8		/* one run, and page tables were freed */

#define BIT(n)	(1 << (n))
#define ALL	(BIT(NCPU) - 1)
#define RECLAIMER	2	/* as an initiator; 0 and 1 are CPUs */
#define STRICT	3		/* no request of this mm */

/* Tag of a slot */
#define TAG(g, freed, busy)	((g) * 4 + (freed) * 2 + (busy))
#define GEN(t)		((t) / 4)
#define IS_FREED(t)	(((t) / 2) & 1)
#define IS_BUSY(t)	((t) & 1)

/* Of the mm. */
byte gen;
byte tag[NSLOT], data[NSLOT];
byte cpumask = (FOREIGN -> 5 : 7);

/* Of a CPU: masks, and the generation it has caught up to. */
byte lazy, switching, irqs = ALL, inside;
byte loaded = (FOREIGN -> 5 : 7);
byte at[NCPU];
byte ipi[NCPU];			/* initiators whose kick has not been acknowledged */

/* Of an initiator: its request. */
byte first[3], last[3], base[3], kind[3];

/*
 * Ghosts. A change is 4 * initiator + 2 * flush + run. Stale: the CPU may have
 * what the page table had before. Done: its flush has returned.
 */
byte cr3 = (FOREIGN -> 5 : 7);	/* whose CR3 has the page table */
byte cached = (FOREIGN -> 5 : 7);	/* who can have translations */
short stale[NCPU], done, freed, published;	/* the last: generations */
byte genof[12];			/* the generation that covers a change */

#define RUN(me)	(!(inside & BIT(me)))
#define can(i)	((i) == RECLAIMER || RUN(i))

/*
 * The law. Translations can be used by whatever runs with the mm loaded, lazy
 * CPUs, interrupt handlers and switch_mm_irqs_off() excepted; freed page tables
 * are walked, and read into paging-structure caches, wherever CR3 has them.
 */
inline law(c)
{
	assert(!((loaded & ~switching & ~lazy & irqs & ~inside) & BIT(c)) || !(stale[c] & done));
	assert(!(cr3 & BIT(c)) || !(stale[c] & done & freed));
}

/* What is loaded is clean, and nothing is claimed that was not done. */
inline honest(me)
{
	k = 0;
	do
	:: k < 12 -> assert(!genof[k] || genof[k] > at[me] || !(stale[me] & BIT(k))); k++
	:: else -> break
	od;
	k = 0;
}

/* The page table changes; LOG:E, before the increment. */
inline change(i, n)
{
	c = 0;
	do
	:: c < NCPU ->
		if
		:: cached & BIT(c) -> stale[c] = stale[c] | (((n) == 2 -> 3 : 1) << base[i])
		:: else
		fi;
		c++
	:: else -> break
	od;
	c = 0;
	if
	:: kind[i] == FREED -> freed = freed | BIT(base[i])
	:: else
	fi;
}

/* LOG:E, and a full barrier: before loaded and lazy of others are read. */
inline increment(i, n)
{
	first[i] = gen + 1; gen = gen + n; last[i] = gen;
	genof[base[i]] = first[i];
	if
	:: n == 2 -> genof[base[i] + 1] = gen
	:: else
	fi;
}

/* One run into the slot of generation g. */
inline publish(i, r)
{
	atomic { can(i) ->
		g = first[i] + r; s = g % NSLOT;
		if
#ifdef STEAL_BUSY
		:: GEN(tag[s]) < g -> mine = true; tag[s] = TAG(g, kind[i] == FREED, 1)
		:: else -> mine = false
#elif defined(OLDER_OVERWRITES)
		:: !IS_BUSY(tag[s]) -> mine = true; tag[s] = TAG(g, kind[i] == FREED, 1)
		:: else -> mine = false
#elif defined(NO_CLAIM)
		:: !IS_BUSY(tag[s]) && GEN(tag[s]) < g -> mine = true
		:: else -> mine = false
#else
		:: !IS_BUSY(tag[s]) && GEN(tag[s]) < g ->		/* LOG:C */
			mine = true; tag[s] = TAG(g, kind[i] == FREED, 1)
		:: IS_BUSY(tag[s]) && GEN(tag[s]) < g -> reached(1); mine = false
		:: GEN(tag[s]) > g -> reached(2); mine = false
#endif
		fi }
	if
#ifdef TAG_BEFORE_RUN
	:: atomic { can(i) && mine -> tag[s] = TAG(g, kind[i] == FREED, 0); }
		atomic { can(i) -> data[s] = base[i] + r; mine = false; g = 0; s = 0; }
#else
	:: atomic { can(i) && mine -> data[s] = base[i] + r;
#if FINE
		}
		atomic { can(i) ->
#endif
			tag[s] = TAG(g, kind[i] == FREED, 0);	/* LOG:A */
			published = published | BIT(g);
			mine = false; g = 0; s = 0; }
#endif
	:: atomic { can(i) && !mine -> g = 0; s = 0; }
	fi
}

/* Whether this one needs to be kicked. Each of these decides on its own. */
#ifdef SKIP_BY_GENERATION
#define up_to_date(c, i)	(at[c] >= last[i])
#else
#define up_to_date(c, i)	false
#endif
#ifdef LAZY_SKIPPED
#define is_lazy(c, i)	(lazy & BIT(c))
#else
#define is_lazy(c, i)	((lazy & BIT(c)) && kind[i] != FREED)
#endif
#ifdef SWITCHING_SKIPPED
#define runs_mm(c)	(loaded & ~switching & BIT(c))
#else
#define runs_mm(c)	((loaded | switching) & BIT(c))
#endif

inline kick(i, c)
{
	if
	:: (cpumask & BIT(c)) && runs_mm(c) && !is_lazy(c, i) && !up_to_date(c, i) ->
		ipi[c] = ipi[c] | BIT(i)
	:: (cpumask & BIT(c)) && !runs_mm(c) && !is_lazy(c, i) && kind[i] != FREED
	:: (cpumask & BIT(c)) && !runs_mm(c) && !is_lazy(c, i) ->	/* trims the mask */
		ipi[c] = ipi[c] | BIT(i)
	:: (cpumask & BIT(c)) && (is_lazy(c, i) || up_to_date(c, i))
	:: !(cpumask & BIT(c))
	fi
}

inline finish(i)
{
	done = done | (((last[i] - first[i]) == 1 -> 3 : 1) << base[i]);
	first[i] = 0; last[i] = 0; base[i] = 0; kind[i] = 0;
	law(0); law(1); law(2);
}

#define acknowledged(i)	(!((ipi[0] | ipi[1] | ipi[2]) & BIT(i)))

/* How a walk stands, and ends. */
#define WALK	1
#define COPY	2
#define CHECK	3
#define PRECISE	4		/* invalidate, and be at to */
#define ALLOFIT	5		/* a full flush, and be at M */
#define NOTHING	6

#define mine_is(r, g)	((r) < STRICT && first[r] && (g) >= first[r] && (g) <= last[r])

/* Take a run, or notice that it is one too many. */
inline collect(q, b)
{
	col = col | (b); pages++;
	if
	:: pages <= CEILING -> g++; v = WALK
	:: pages > CEILING && (q) < STRICT && g > last[q] -> reached(3); to = g - 1; v = PRECISE
	:: pages > CEILING && ((q) == STRICT || g <= last[q]) -> reached(4); v = ALLOFIT
	fi
}

/* The generations of the request itself need no look at the log. */
inline take_own(q)
{
	do
	:: v == WALK && g <= M && mine_is(q, g) ->
		if
		:: kind[q] == FULL -> v = ALLOFIT
		:: else -> collect(q, BIT(base[q] + g - first[q]))
		fi
	:: else -> break
	od;
	if
#ifdef BEYOND_UNCHECKED
	:: v == WALK && (q) < STRICT && g > last[q] -> to = M; v = PRECISE
#endif
	:: v == WALK && g > M -> to = M; v = PRECISE
	:: else
	fi
}

/* Not published yet, or never. Its owner may kick this CPU, or have decided not to. */
inline unpublished(q)
{
	if
	:: (q) == STRICT ->
		reached(5);
#ifdef STOP_WHEN_STRICT
		to = g - 1; v = PRECISE
#else
		v = ALLOFIT
#endif
	:: (q) < STRICT && g > last[q] -> reached(6); to = g - 1; v = PRECISE
	:: (q) < STRICT && g < first[q] && kind[q] == FULL -> v = ALLOFIT
	:: (q) < STRICT && g < first[q] && kind[q] != FULL ->
		reached(7);
		col = col | BIT(base[q]) | (first[q] == last[q] -> 0 : BIT(base[q] + 1));
#ifdef CLAIM_SKIPPED
		to = last[q];
#else
		to = g - 1;
#endif
		v = PRECISE
	fi
}

/*
 * From at[cpu] to what the mm is at now, with a request of this mm (q), or
 * STRICT. Ends with v PRECISE (col to be invalidated), ALLOFIT or NOTHING.
 */
inline begin(cpu, q)
{
	M = gen;							/* LOG:F */
	col = 0; pages = 0; g = at[cpu] + 1;
	assert(at[cpu] <= M);
	if
	:: at[cpu] == M || ((q) < STRICT && at[cpu] >= last[q]) ->
		if
		:: (q) < STRICT -> reached(8)
		:: else
		fi;
		v = NOTHING
	:: else -> v = WALK; take_own(q)
	fi
}

/* STEAL_BUSY and NO_CLAIM break this too, before what they are about. */
#if defined(STEAL_BUSY) || defined(NO_CLAIM)
#define found_if_published()	skip
#else
#define found_if_published()	assert(!(published & BIT(g)))
#endif

inline read_tag(q)
{
	t = tag[g % NSLOT];						/* LOG:B */
	if
	:: t == TAG(g, 0, 0) || t == TAG(g, 1, 0) -> v = COPY
	:: GEN(t) > g -> reached(9); v = ALLOFIT			/* lost */
	:: GEN(t) < g || t == TAG(g, 0, 1) || t == TAG(g, 1, 1) ->
		found_if_published();
		unpublished(q)
	fi
}

/* Page tables were freed: the kick for it, or a kick of this mm, will do. */
#ifdef FREED_IGNORED
#define precise_if_freed(q)	true
#elif defined(FREED_BY_INVLPG)
#define precise_if_freed(q)	((q) < STRICT || !(switching & BIT(2)))
#else
#define precise_if_freed(q)	((q) < STRICT)
#endif

inline check_tag(q)
{
	if
#ifdef NO_RECHECK
	:: true ->
#else
	:: tag[g % NSLOT] == t ->					/* LOG:D */
#endif
		if
		:: IS_FREED(t) && !precise_if_freed(q) -> reached(10); v = ALLOFIT
		:: !IS_FREED(t) || precise_if_freed(q) ->
			/* Not torn, not of another generation. */
			assert(genof[d] == g);
			if
			:: g > NSLOT -> reached(11)
			:: else
			fi;
			collect(q, BIT(d)); take_own(q)
		fi
#ifndef NO_RECHECK
	:: tag[g % NSLOT] != t -> reached(12); v = ALLOFIT		/* lost */
#endif
	fi;
	d = 0
}

inline walk(q)
{
	do
#if FINE
	:: atomic { v == WALK -> read_tag(q); }
	:: atomic { v == COPY -> d = data[g % NSLOT]; v = CHECK; }
	:: atomic { v == CHECK -> check_tag(q); }
#else
	:: atomic { v == WALK ->
		read_tag(q);
		if
		:: v == COPY -> d = data[g % NSLOT]; check_tag(q)
		:: else
		fi }
#endif
	:: v >= PRECISE -> break
	od
}

inline forget()
{
	v = 0; col = 0; to = 0; M = 0; pages = 0; t = 0; g = 0
}

/* On a CPU that has the mm loaded: INVLPG, or everything. */
inline invalidate(me)
{
	if
	:: v == PRECISE -> stale[me] = stale[me] & ~col; at[me] = to
	:: v == ALLOFIT -> stale[me] = 0; at[me] = M
	:: v == NOTHING
	fi;
	honest(me);
	forget();
}

/* What can be a run's, has a page table below it if it was freed. */
proctype Flusher(byte me)
{
	byte n, c, r, g, s, t, d, v, M, to, pages, k, runs;
	short col;
	bool mine;

	do
	:: atomic { RUN(me) && n < (me == 0 -> OPS0 : OPS1) ->
		base[me] = 4 * me + 2 * n; n++; runs = 1;
		if
		:: (me == 0 -> KINDS0 : KINDS1) & ONE -> kind[me] = ONE
		:: (me == 0 -> KINDS0 : KINDS1) & TWO -> kind[me] = TWO; runs = 2
		:: (me == 0 -> KINDS0 : KINDS1) & FULL -> kind[me] = FULL
		:: (me == 0 -> KINDS0 : KINDS1) & FREED -> kind[me] = FREED
		fi;
#ifndef INCREMENT_FIRST
		change(me, runs);
#if FINE
		}
		atomic { RUN(me) ->
#endif
		increment(me, runs); }
#else
		increment(me, runs); }
		atomic { RUN(me) -> change(me, runs); }
#endif
		do
		:: kind[me] != FULL && r < runs -> publish(me, r); r++
		:: kind[me] == FULL || r == runs -> r = 0; break
		od;
		atomic { RUN(me) -> kick(me, (1 - me)); kick(me, 2); }
		if
		:: atomic { RUN(me) && (loaded & BIT(me)) ->
			irqs = irqs & ~BIT(me); begin(me, me); }
			walk(me);
			atomic { true -> invalidate(me); irqs = irqs | BIT(me); law(me); }
		:: atomic { RUN(me) && !(loaded & BIT(me)) -> skip; }
		fi;
		atomic { RUN(me) && acknowledged(me) -> runs = 0; finish(me); }
	:: atomic { RUN(me) && n == (me == 0 -> OPS0 : OPS1) -> break }
	od
}

/* Publishes without a kick; the kick comes later, and is for any mm. */
proctype Reclaim()
{
	byte c, g, s, mask, n;
	bool mine;

	do
	:: atomic { n < RECLAIM ->
		base[RECLAIMER] = 4 * RECLAIMER + 2 * n; n++; kind[RECLAIMER] = ONE;
		change(RECLAIMER, 1); increment(RECLAIMER, 1); }
		publish(RECLAIMER, 0);
		mask = cpumask;
		atomic { true ->
			do
			:: c < NCPU ->
				if
				:: (mask & BIT(c)) && !(lazy & BIT(c)) -> ipi[c] = ipi[c] | BIT(RECLAIMER)
				:: else
				fi;
				c++
			:: else -> break
			od;
			c = 0; mask = 0; }
		atomic { acknowledged(RECLAIMER) -> finish(RECLAIMER); }
	:: atomic { n == RECLAIM -> break }
	od
}

/* CPU 2: user code of the mm, a kernel thread that borrows it, another mm. */
proctype Target(byte me)
{
	byte n, g, t, d, v, M, to, pages, k;
	short col;

#define on	((loaded & BIT(me)) && !(lazy & BIT(me)))
	do
	:: atomic { RUN(me) && n < MOVES && on -> n++; lazy = lazy | BIT(me); }

	/* Away, from user code or from a kernel thread. */
	:: atomic { RUN(me) && n < MOVES && (loaded & BIT(me)) ->
		n++; irqs = irqs & ~BIT(me); lazy = lazy & ~BIT(me);
		loaded = loaded & ~BIT(me); switching = switching | BIT(me); }
		atomic { true ->
			cr3 = cr3 & ~BIT(me);
			if
			:: !PCID -> stale[me] = 0; cached = cached & ~BIT(me)
			:: PCID
			fi;
			switching = switching & ~BIT(me); irqs = irqs | BIT(me); }

	/* Leaves lazy mode. */
	:: atomic { RUN(me) && n < MOVES && (lazy & BIT(me)) ->
		n++; irqs = irqs & ~BIT(me);
#ifndef LAZY_TOO_LATE
		lazy = lazy & ~BIT(me); }
		atomic { true ->
#endif
		begin(me, STRICT); }
#ifdef LAZY_TOO_LATE
		atomic { true -> lazy = lazy & ~BIT(me); }
#endif
		walk(STRICT);
		if
		:: atomic { v == ALLOFIT -> at[me] = M; }
			atomic { true -> invalidate(me); irqs = irqs | BIT(me); law(me); }
		:: atomic { v != ALLOFIT ->
			if
			:: v == PRECISE -> reached(13)
			:: else
			fi;
			invalidate(me); irqs = irqs | BIT(me); law(me); }
		fi

	/* Back. */
	:: atomic { RUN(me) && n < MOVES && !(loaded & BIT(me)) ->
		n++; irqs = irqs & ~BIT(me); switching = switching | BIT(me); }
#ifndef MASK_TOO_LATE
		atomic { true -> cpumask = cpumask | BIT(me); }
#endif
#if PCID
		atomic { true -> begin(me, STRICT); }
#else
		atomic { true -> M = gen; v = ALLOFIT; }
#endif
#ifdef MASK_TOO_LATE
		atomic { true -> cpumask = cpumask | BIT(me); }
#endif
#if PCID
		walk(STRICT);
#endif
		if
		:: atomic { v == ALLOFIT -> at[me] = M; }
			atomic { true -> stale[me] = 0; cr3 = cr3 | BIT(me); }
		:: atomic { v != ALLOFIT ->
			if
			:: v == PRECISE ->
				reached(14);
#ifndef CLEAN_AFTER_CR3
				/* INVPCID, of what need not drop page tables. */
				stale[me] = stale[me] & ~(col & ~freed);
#endif
				at[me] = to
			:: else
			fi }
			atomic { true -> cr3 = cr3 | BIT(me); }
		fi;
		atomic { true ->
			cached = cached | BIT(me);
			assert(!(stale[me] & done));	/* loaded clean */
#ifdef CLEAN_AFTER_CR3
			stale[me] = stale[me] & ~(col & ~freed);
#endif
			honest(me);
			forget(); }
		atomic { true ->
			switching = switching & ~BIT(me); loaded = loaded | BIT(me);
			irqs = irqs | BIT(me); law(me); }
	:: atomic { RUN(me) && n == MOVES -> break }
	od
}

/* flush_tlb_func(), one request after the other, in any order. */
proctype Handler(byte me)
{
	byte r, i, g, t, d, v, M, to, pages, k;
	short col;

end:	do
	:: atomic { (irqs & BIT(me)) && ipi[me] ->
		inside = inside | BIT(me);
		if
		:: ipi[me] & 1 -> i = 0
		:: ipi[me] & 2 -> i = 1
		:: ipi[me] & 4 -> i = 2
		fi;
		if
		:: !(loaded & BIT(me)) ->
			if
			:: i != RECLAIMER -> cpumask = cpumask & ~BIT(me)
			:: else
			fi;
			v = NOTHING
		:: (loaded & BIT(me)) && (lazy & BIT(me)) ->
			/* Leaves the mm. */
			lazy = lazy & ~BIT(me); loaded = loaded & ~BIT(me); cr3 = cr3 & ~BIT(me);
			if
			:: !PCID -> stale[me] = 0; cached = cached & ~BIT(me)
			:: PCID
			fi;
			v = NOTHING
		:: else -> r = (i == RECLAIMER -> STRICT : i); begin(me, r)
		fi }
		walk(r);
		atomic { invalidate(me); }
		atomic { ipi[me] = ipi[me] & ~BIT(i);
			inside = inside & ~BIT(me);
			i = 0; r = 0; law(me); }
	od
}

init {
	byte i;

	atomic {
		run Flusher(0); run Flusher(1);
		if
		:: RECLAIM -> run Reclaim()
		:: else
		fi;
		if
		:: MOVES -> run Target(2)
		:: else
		fi;
		run Handler(0); run Handler(1); run Handler(2);
	}
	atomic { timeout ->
		/* Every flush has returned, and no kick is left. */
		assert(acknowledged(0) && acknowledged(1) && acknowledged(RECLAIMER));
		assert(!first[0] && !first[1] && !first[2] && !inside && irqs == ALL);
		do
		:: i < NSLOT -> assert(!IS_BUSY(tag[i])); i++
		:: else -> break
		od;
	}
}
