// SPDX-License-Identifier: GPL-2.0
/*
 * kernel/cpusync.c, hold path: see README.md for what is modelled, and how far.
 * Parameters and negative controls are macros (spin -D...), listed there.
 *
 * No process ever polls: a loop of the code is a wait for the next thing that
 * can change its course, and a bound is a step that is possible at any time. So
 * every run is finite (checked, -DNP), and a wait without a bound that nobody
 * ends is a state that nothing leaves (checked by init).
 */
#ifndef NCPU
#define NCPU	3
#endif
#ifndef NINIT
#define NINIT	2		/* CPUs 0 .. NINIT - 1 are initiators */
#endif
#ifndef USES0
#define USES0	2		/* holds that CPU 0 tries */
#endif
#ifndef USES1
#define USES1	1		/* holds that each of the others tries */
#endif
#ifndef LOCK
#define LOCK	1		/* plain spinlock: CPU 1 irqs on, CPU 2 irqs off */
#endif
#ifndef REOPEN
#define REOPEN	0		/* 1: CPU 0 may add CPUs to its hold; 2: all may */
#endif
#ifndef HOTPLUG
#define HOTPLUG	0		/* CPU 2 goes offline, and comes back */
#endif
#ifndef TSO
#define TSO	0		/* the plain store of CLOSED goes through a store buffer */
#endif
#ifndef FINE
#define FINE	0		/* message passing in single steps, see README.md */
#endif
#ifndef SEATS
#define SEATS	NINIT		/* CPUSYNC_SEATS */
#endif
#ifndef REACH
#define REACH	0		/* coverage: claim that this never happens */
#endif
#define reached(n)	assert(REACH != (n))

#define CLOSED		0
#define OPEN		1
#define HELD		2
#define RELEASED	3
#define WORD(s, e, st, c)	((s) * 256 + (e) * 32 + (st) * 8 + (c))
#define SEQ(w)		((w) / 256)
#define EPOCH(w)	(((w) / 32) % 8)
#define STATE(w)	(((w) / 8) % 4)
#define CNT(w)		((w) % 8)
#define NEXT(i, st, c)	WORD(SEQ(word[i]), EPOCH(word[i]), st, c)

#define BIT(n)		(1 << (n))
#define ALL		(BIT(NCPU) - 1)
#define LOW(m)		((m) & 1 -> 0 : ((m) & 2 -> 1 : ((m) & 4 -> 2 : 3)))
#define WEIGHT(m)	(((m) & 1) + (((m) >> 1) & 1) + (((m) >> 2) & 1) + (((m) >> 3) & 1))

#ifdef NO_SEQ
#define same_use(w, s)	true
#else
#define same_use(w, s)	(SEQ(w) == (s))
#endif

/* Of an initiator. */
short word[NINIT];
#if TSO
short buffered[NINIT];		/* a plain store of CLOSED that is not visible yet */
#define drained(i)	(!buffered[i])
#define seen_by_owner(i)	(buffered[i] -> buffered[i] : word[i])
#define store_closed(i)	buffered[i] = NEXT(i, CLOSED, 0)
#else
#define drained(i)	true
#define seen_by_owner(i)	word[i]
#define store_closed(i)	word[i] = NEXT(i, CLOSED, 0); counted[i] = 0
#endif
byte targets[NINIT];

/* Of a target. */
byte mail[NCPU];		/* mask of initiators */
byte pending, csd;		/* masks of CPUs: kick asked for, csd locked */

/* Masks of CPUs. */
byte online = ALL, irqs = ALL, inside, ipi, preempt_off;
byte lock, running = NCPU + HOTPLUG;

/* Ghosts: what the code need not know, and the assertions are about. */
byte counted[NINIT];		/* arrived, not left, acknowledged or closed since */
byte ran[NINIT];		/* has run the function of this use */
byte committed;
byte looked[NCPU];		/* has read the word of this use since it was opened */
#if REACH == 6
byte posted[NCPU];		/* mail of this use has been sent */
#endif

/* A CPU's task makes no step while its handler runs. */
#define RUN(me)	(!(inside & BIT(me)))

/* None of those who are asked has seen this use. */
inline news()
{
	todo = fresh;
	do
	:: todo ->
		t = LOW(todo); todo = todo & ~BIT(t);
		looked[t] = looked[t] & ~BIT(me);
#if REACH == 6
		posted[t] = posted[t] & ~BIT(me)
#endif
	:: else -> break
	od;
	t = 0;
}

inline send_mail()
{
	mail[t] = mail[t] | BIT(me);
#if REACH == 6
	posted[t] = posted[t] | BIT(me)
#endif
}

/* CS:K: locked instructions both. Whose bit it is never finds the csd in use. */
inline kick()
{
	if
	:: pending & BIT(t)
	:: else ->
		pending = pending | BIT(t);
		assert(!(csd & BIT(t)));
		csd = csd | BIT(t); ipi = ipi | BIT(t)
	fi
}

/* cpusync_post() for all */
inline post()
{
	todo = fresh;
	do
	:: atomic { RUN(me) && todo ->
		t = LOW(todo); todo = todo & ~BIT(t);
#ifdef KICK_BEFORE_MAIL
		kick(); }
		atomic { RUN(me) -> send_mail(); t = 0; }
#elif defined(MAIL_BEFORE_OPEN)
		kick(); t = 0; }
#elif FINE
		send_mail(); }
		atomic { RUN(me) -> kick(); t = 0; }
#else
		send_mail(); kick(); t = 0; }
#endif
	:: atomic { RUN(me) && todo == 0 -> fresh = 0; break }
	od
}

/* No request is lost: who was asked has looked since, or is still to. */
inline check_mail()
{
	t = 0;
	do
	:: t < NCPU -> assert(!(targets[me] & BIT(t)) || ((mail[t] | looked[t]) & BIT(me))); t++
	:: else -> break
	od;
	t = 0;
}

/* The word is the initiator's alone to change now. CS:C, CS:A */
inline open(seq, epoch, old)
{
	assert(STATE(word[me]) == old && CNT(word[me]) == 0);
	word[me] = WORD(SEQ(word[me]) + seq, EPOCH(word[me]) + epoch, OPEN, WEIGHT(fresh));
	committed = committed & ~BIT(me);
	news();
}

/* I1, and what makes it true */
inline check_holding()
{
	assert(RUN(me));
	assert(counted[me] == targets[me]);
	assert((inside & targets[me]) == targets[me]);
	assert(!(committed & targets[me]));
	t = 0;
	do
	:: t < NINIT -> assert(!(committed & BIT(t)) || !(targets[t] & BIT(me))); t++
	:: else -> break
	od;
	t = 0;
}

inline coverage()
{
	if
	:: WEIGHT(targets[me]) == NCPU - 1 -> reached(1)
	:: else
	fi;
	if
	:: committed == 3 && (targets[0] & targets[1]) -> reached(2)
	:: else
	fi;
	if
	:: again -> reached(3)
	:: else
	fi
}

proctype Task(byte me)
{
	byte fresh, todo, t, uses;
	bool locked = !(LOCK && (me == 1 || me == 2)), again;

	do
	:: atomic { RUN(me) && me < NINIT && uses < (me == 0 -> USES0 : USES1) && !(preempt_off & BIT(me)) ->
		uses++; preempt_off = preempt_off | BIT(me);
		again = false; ran[me] = 0;
		if
		:: fresh = ALL & ~BIT(me)
		:: fresh = BIT((me + 1) % NCPU)
		:: fresh = BIT((me + 2) % NCPU)
		fi;
		fresh = fresh & online; }
#if FINE && !defined(OPEN_BEFORE_TARGETS)
		atomic { RUN(me) -> targets[me] = 0; }
		atomic { RUN(me) -> targets[me] = fresh; }
#endif
#ifdef MAIL_BEFORE_OPEN
		atomic { RUN(me) ->
			todo = fresh;
			do
			:: todo -> t = LOW(todo); todo = todo & ~BIT(t); send_mail()
			:: else -> break
			od;
			t = 0; }
#endif
		/* A locked instruction: waits until its CPU's store buffer is empty. */
		atomic { RUN(me) && drained(me) ->
#if !FINE
			targets[me] = fresh;
#endif
			open(1, 0, CLOSED); }
#ifdef OPEN_BEFORE_TARGETS
		atomic { RUN(me) -> targets[me] = fresh; }
#endif
opened:
		post();

		if
		/* The count is 0, interrupts go off, and CS:F finds that it still is. */
#ifdef NO_RECHECK
		:: atomic { RUN(me) && CNT(word[me]) == 0 -> irqs = irqs & ~BIT(me); }
			atomic { true ->
#else
		:: atomic { RUN(me) && CNT(word[me]) == 0 ->
#endif
			assert(STATE(word[me]) == OPEN);
			word[me] = NEXT(me, HELD, 0);
			committed = committed | BIT(me);
#ifdef IRQS_ON_WHILE_HOLDING
			irqs = irqs | BIT(me);
#else
			irqs = irqs & ~BIT(me);
#endif
			check_holding();
			coverage(); }
#ifndef NO_BACKOUT
		:: atomic { RUN(me) ->			/* the bound */
			assert(STATE(word[me]) == OPEN && ran[me] == 0);
			check_mail();
			store_closed(me);
			if
			:: again -> reached(4)
			:: else -> reached(5)
			fi;
			again = false; preempt_off = preempt_off & ~BIT(me);
			goto out }
#endif
		fi;

		/* Holding. */
		if
		:: atomic { RUN(me) && (REOPEN == 2 || (REOPEN && me == 0)) && !again &&
			    (online & ~targets[me] & ~BIT(me)) ->
			again = true;
			fresh = online & ~targets[me] & ~BIT(me);
#if FINE
			}
			atomic { RUN(me) ->
#endif
			targets[me] = targets[me] | fresh;
#if FINE
			}
			atomic { RUN(me) ->
#endif
#ifdef REOPEN_IRQS_EARLY
			irqs = irqs | BIT(me); }
			atomic { RUN(me) ->
#endif
			open(0, 1, HELD);
			irqs = irqs | BIT(me);
			goto opened }
		:: atomic { RUN(me) ->				/* CS:G */
			assert(STATE(word[me]) == HELD && CNT(word[me]) == 0);
			check_holding();
			word[me] = NEXT(me, RELEASED, WEIGHT(targets[me]));
			committed = committed & ~BIT(me);
			irqs = irqs | BIT(me); }
		fi;
		atomic { RUN(me) && CNT(word[me]) == 0 ->	/* CS:J */
			assert(STATE(word[me]) == RELEASED);
			assert(ran[me] == targets[me] && counted[me] == 0);	/* I2 */
			store_closed(me);
			again = false; preempt_off = preempt_off & ~BIT(me); }
out:		skip

	:: atomic { RUN(me) && !locked ->
		locked = true;
		preempt_off = preempt_off | BIT(me);
		irqs = (me == 2 -> irqs & ~BIT(me) : irqs); }
		atomic { RUN(me) && !lock -> lock = 1; }
		atomic { RUN(me) ->
			lock = 0;
			irqs = irqs | BIT(me);
			preempt_off = preempt_off & ~BIT(me); }

	:: atomic { RUN(me) && locked && (me >= NINIT || uses == (me == 0 -> USES0 : USES1)) ->
		running--; break }
	od
}

#if NINIT > 2
#define seats()		((seat[0] > 0) + (seat[1] > 0) + (seat[2] > 0))
#else
#define seats()		((seat[0] > 0) + (seat[1] > 0))
#endif

/* cpusync_arrive(), from the word in w */
inline arrive()
{
	do
	:: atomic { STATE(w) == OPEN && (targets[a] & BIT(me)) ->
#if FINE
		skip }
		atomic { true ->
#endif
		if						/* CS:E */
		:: word[a] == w ->
			assert(CNT(w) > 0 && !(counted[a] & BIT(me)));
			assert(!(ran[a] & BIT(me)));		/* I5 */
			assert(targets[a] & BIT(me));		/* CS:C, CS:D */
			counted[a] = counted[a] | BIT(me);
			word[a] = w - 1; seat[a] = SEQ(w);
#ifdef LEAVE_MAIL
			crowded = (seats() == SEATS);
#endif
#if REACH == 6
			if
			:: posted[me] & BIT(a)
			:: else -> reached(6)
			fi;
#endif
			w = 0; break
		:: else -> w = word[a]
		fi }
	:: atomic { STATE(w) != OPEN || !(targets[a] & BIT(me)) -> seat[a] = 0; w = 0; break }
	od
}

inline clear_mail()
{
	mail[me] = mail[me] & ~BIT(a);				/* CS:B */
#ifndef READ_BEFORE_TAKE
	looked[me] = looked[me] | BIT(a);
#endif
}

inline read_word()
{
	w = word[a]; looked[me] = looked[me] | BIT(a);		/* CS:D */
}

/* cpusync_take() */
inline take()
{
	if
	:: atomic { seat[a] && same_use(w, seat[a]) -> reached(7); w = 0; }
	:: atomic { !(seat[a] && same_use(w, seat[a])) -> skip;
#if FINE
		}
#endif
		arrive()
#if !FINE
		}
#endif
	fi
}

inline execute()					/* I2; CS:H */
{
	assert(STATE(word[a]) == RELEASED && SEQ(word[a]) == seat[a]);
	assert((targets[a] & BIT(me)) && !(ran[a] & BIT(me)));
	ran[a] = ran[a] | BIT(me);
}

/* The word has something to say to who sits there, or the budget is over. */
#ifdef NO_WITHDRAW
#define course(i)	(seat[i] && (!same_use(word[i], seat[i]) || \
			 STATE(word[i]) == CLOSED || STATE(word[i]) == RELEASED))
#else
#define course(i)	(seat[i] && (!same_use(word[i], seat[i]) || STATE(word[i]) != HELD))
#endif

/* cpusync_stay(), in one step: what it does depends on this one word. */
inline stay(i)
{
	a = i; w = word[i];
	if
	:: !same_use(w, seat[a]) -> reached(8)
	:: same_use(w, seat[a]) && STATE(w) == OPEN ->
		assert(counted[a] & BIT(me));
		assert(CNT(w) < WEIGHT(targets[a]));
		counted[a] = counted[a] & ~BIT(me);
		word[a] = w + 1
	:: same_use(w, seat[a]) && STATE(w) == RELEASED ->
		execute();
		assert(CNT(w) > 0 && (counted[a] & BIT(me)));	/* CS:I */
		counted[a] = counted[a] & ~BIT(me);
		word[a] = w - 1
	:: same_use(w, seat[a]) && STATE(w) == CLOSED ->
#ifdef RUN_ON_CLOSED
		execute();
#endif
		skip
	fi;
	seat[a] = 0; w = 0; a = 0;
}

proctype Handler(byte me)
{
	byte a, seat[NINIT];
	bool crowded;
	short w;

end:	do
	:: atomic { (irqs & BIT(me)) && (ipi & BIT(me)) ->
		inside = inside | BIT(me); ipi = ipi & ~BIT(me);
#ifdef UNLOCK_LATE
		pending = pending & ~BIT(me); }
		atomic { true -> csd = csd & ~BIT(me); }
#else
		csd = csd & ~BIT(me);
#if FINE
		}
		atomic { true ->
#endif
#ifndef CLEAR_AFTER_LOOK
		pending = pending & ~BIT(me);			/* CS:L */
#endif
		}
#endif
		do
#ifdef READ_BEFORE_TAKE
		:: atomic { a = 0; read_word(); }
			if
			:: atomic { mail[me] & BIT(a) -> clear_mail(); }
				take()
			:: atomic { !(mail[me] & BIT(a)) -> skip; }
			fi;
			atomic { true -> a = 0; w = 0; }
		:: atomic { mail[me] & 2 -> a = 1; clear_mail(); read_word(); }
			take(); a = 0
#elif FINE
		:: atomic { mail[me] && seats() < SEATS -> a = LOW(mail[me]); clear_mail(); }
			atomic { true -> read_word(); }
			take(); a = 0
#else
		:: atomic { mail[me] && seats() < SEATS -> a = LOW(mail[me]); clear_mail(); read_word();
			take(); a = 0; }
#endif
		:: atomic { course(0) -> stay(0); }
		:: atomic { course(1) -> stay(1); }
#if NINIT > 2
		:: atomic { course(2) -> stay(2); }
#endif
#ifdef LEAVE_MAIL
		:: atomic { !seats() && (!mail[me] || crowded) -> crowded = false;
#else
		/* The next kick looks into the mail that is left: cpusync_come_back(). */
		:: atomic { !seats() && (!mail[me] || (pending & BIT(me))) ->
			if
			:: mail[me] -> reached(10)
			:: else
			fi;
#endif
#if FINE || defined(CLEAR_AFTER_LOOK)
			skip }
#ifdef CLEAR_AFTER_LOOK
			pending = pending & ~BIT(me);
#endif
			atomic { true ->
#endif
			inside = inside & ~BIT(me); break }
		od
	od
}

#if TSO
/* The plain store of CLOSED becomes visible at any later time. */
proctype Buffer(byte me)
{
end:	do
	:: atomic { buffered[me] ->
		word[me] = buffered[me]; buffered[me] = 0; counted[me] = 0; }
	od
}
#endif

/* stop_machine(): only when every CPU can switch to its stopper thread. */
proctype Hotplug()
{
	byte a;

	atomic { !preempt_off && !inside && irqs == ALL ->
		online = online & ~BIT(2);
		assert((pending & BIT(2)) == (csd & BIT(2)));
		/* smpcfd_dying_cpu() runs the late kick. */
		do
		:: a < NINIT && (csd & BIT(2)) -> reached(9);
			assert(!(mail[2] & BIT(a)) || STATE(seen_by_owner(a)) == CLOSED);
			mail[2] = mail[2] & ~BIT(a);
			a++
		:: else -> break
		od;
		a = 0; csd = csd & ~BIT(2); pending = pending & ~BIT(2); ipi = ipi & ~BIT(2); }
	atomic { true -> online = online | BIT(2); running--; }
}

init {
	byte i;

	atomic {
		do
		:: i < NCPU -> run Task(i); run Handler(i); i++
		:: else -> break
		od;
		i = 0;
#if TSO
		do
		:: i < NINIT -> run Buffer(i); i++
		:: else -> break
		od;
		i = 0;
#endif
		if
		:: HOTPLUG -> run Hotplug()
		:: else
		fi;
	}
	atomic { timeout ->
		assert(running == 0);		/* otherwise: deadlock */
		assert(inside == 0 && ipi == 0 && committed == 0 && preempt_off == 0);
		assert(irqs == ALL && online == ALL && !csd && !pending);
		do
		:: i < NCPU -> assert(!mail[i]); i++
		:: else -> break
		od;
		i = 0;
		do
		:: i < NINIT -> assert(STATE(word[i]) == CLOSED && drained(i) && !counted[i]); i++
		:: else -> break
		od;
	}
}
