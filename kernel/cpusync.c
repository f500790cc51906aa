// SPDX-License-Identifier: GPL-2.0
/*
 * CPU rendezvous: hold CPUs, run a function on all of them, let them go.
 *
 * A CPU that is held spins in an interrupt handler. That deadlocks as soon as
 * somebody waits for it with interrupts off:
 *
 *	A			B			E
 *	cpusync_interlock()	spin_lock(&l)		local_irq_disable()
 *	waits for E		held by A		spin_lock(&l)
 *				waits for A		waits for B
 *
 * and no order of locks avoids it, since B may hold any lock. So there is one
 * rule that everything here follows: *nobody waits for the hold to become
 * complete without a bound*, neither the CPU that asks for it nor those that
 * have arrived. Who has waited for budget_us leaves. The hold exists only when
 * its initiator *commits* it, with one compare-and-exchange on one word which
 * says at the same time that all targets are there. From then on nobody waits
 * for anything but the initiator, which has interrupts off and bounded work.
 *
 * Roles of a CPU: none; waiting (initiator, interrupts on); holding (initiator
 * that has committed, interrupts off until the release); held (in the handler).
 * A waiting initiator can be held by somebody else; while it is, it runs the
 * handler and not its own commit. A holding one cannot: interrupts are off.
 *
 * States of a request, in its word together with a sequence number, an epoch
 * and a count:
 *
 *  CLOSED	nobody is held. Targets that are still inside go.
 *  OPEN	count = targets that have not arrived. They arrive and withdraw.
 *  HELD	committed. count = targets that left early since somebody oopsed.
 *  RELEASED	count = targets that have not acknowledged yet.
 *
 *	CLOSED -> OPEN -> HELD -> RELEASED -> CLOSED	and again
 *		  OPEN -> CLOSED			back-out
 *		  OPEN <- HELD				more CPUs: next epoch
 *
 * Invariants:
 *
 *  I1	A commits only if every target of A is inside the handler, and has
 *	counted itself in for A. Nobody who is inside commits. So two initiators
 *	that are targets of each other never both commit.
 *  I2	A target runs the function once, after a release, or not at all. (Once
 *	more if somebody oopsed: cpusync_deinterlock().)
 *  I3	Nobody is inside for longer than budget_us (from the first arrival, or
 *	from the last time one of its requests was opened again) plus the time
 *	that its committed initiators need. After budget_us no new ones count
 *	among them, once a kick is behind their mail, which waits for that.
 *  I4	Requests and kicks are static: one of each per CPU, a request used with
 *	preemption off by whoever runs there. A kick carries nothing: it means
 *	"look into your mailbox". A late or stale one finds nothing there, or a
 *	request that is open and asks for this CPU, or one that is not open, and
 *	ignores that. So one that is on its way serves for all, and nobody ever
 *	waits to send one. smp_call_function_many() would: csd_lock() waits in
 *	its loop, while others wait for the interrupts that it sends after it.
 *	If a CPU is held in that loop, kicks that were queued meanwhile have no
 *	interrupt: cpusync_nudge() sends one to who has not come by half-time.
 *  I5	The acknowledgment is a target's last access to a request that it counts
 *	in. What it may still read of it, for stale mail, is the word.
 *
 * One CPU can be held by several initiators at once. A handler that spins sees
 * new mail: the kick that is queued behind it need not run for that, and there
 * is no recursion. It takes part in CPUSYNC_SEATS requests at the most; mail beyond
 * that waits, within its sender's bound. A stream of holds that overlap would
 * keep it in there for ever: who has been inside for budget_us takes no new mail,
 * goes when it can, and is brought back by the kick that is pending.
 *
 * From the first kick to the release the initiator takes no lock, allocates,
 * sleeps and prints nothing, and runs no softirq (bottom halves are off, since
 * one might want a lock of somebody who is held).
 *
 * Hotplug: preemption is off, so no CPU can go offline in between, and targets
 * are limited to the ones that are online. One that comes online meanwhile is not
 * held. A late kick that is run by a CPU on its way down finds no open request.
 * Oops, panic: who is held leaves a hold when somebody oopses, or has: then the
 * initiator may be what died. If it survives, it runs the function on them with
 * ordinary kicks. None begins while that is printed, nor afterwards; one that
 * does so between the two ends in the same way.
 * NMI: may interrupt anything here, and only asks whether its CPU is held.
 * Virtual machines: a hold lasts as long as the host keeps its initiator from
 * running, and so do they wait who wait for a CPU that is held.
 * PREEMPT_RT: bottom halves off is not what it says there. A hold never
 * succeeds; cpusync_simple() is unaffected.
 *
 * Barriers, where A is an initiator and B a target:
 *
 *  CS:A / CS:B	A opens the request, then posts mail; B takes mail, then reads
 *		the word. B sees the request that the mail is about, or a later
 *		state. (message passing)
 *  CS:C / CS:D	A fills in the targets, then opens; B reads the word, then the
 *		targets. If B's arrival succeeds on that word, they belong to
 *		it. (message passing)
 *  CS:K / CS:L	A posts mail, then looks whether a kick is pending; B says that
 *		none is, then looks for mail. One of them sees the other's.
 *		(store buffering)
 *  CS:E / CS:F	B's arrival is a full barrier, and A's commit is one: what B
 *		did before it was held happens before what A does while holding.
 *  CS:G / CS:H	A does its work, then releases; B sees the release, then runs
 *		the function, which sees the work. (message passing)
 *  CS:I / CS:J	B runs the function, then acknowledges; A sees that, then
 *		returns, or reuses the request. (message passing)
 *
 * What it is not: stop_machine(). Targets are not threads, interrupts that
 * are pending on them wait, and it may say no.
 */

#define pr_fmt(fmt) "cpusync: " fmt

#include <linux/bottom_half.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/cpusync.h>
#include <linux/debugfs.h>
#include <linux/init.h>
#include <linux/lockdep.h>
#include <linux/math64.h>
#include <linux/moduleparam.h>
#include <linux/panic.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/sched/debug.h>
#include <linux/seq_file.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>

#include "sched/sched.h"
#include "time/timekeeping.h"

#define CREATE_TRACE_POINTS
#include <trace/events/cpusync.h>

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "cpusync."

/* Longer than a CPU usually takes to answer, shorter than anybody notices. */
static unsigned int budget_us = 50;

static int budget_set(const char *val, const struct kernel_param *kp)
{
	return param_set_uint_minmax(val, kp, 1, USEC_PER_SEC);
}

static const struct kernel_param_ops budget_ops = {
	.set = budget_set,
	.get = param_get_uint,
};
module_param_cb(budget_us, &budget_ops, &budget_us, 0644);
MODULE_PARM_DESC(budget_us, "How long to wait for a hold to become complete");

/* Interrupts that wait for so long are noticed. */
static unsigned int long_us = 10000;
module_param(long_us, uint, 0644);
MODULE_PARM_DESC(long_us, "Holds that last longer are reported when they have ended");

/*
 * The word:	bits 63..32	sequence number, next for each use
 *		bits 31..18	epoch: how often it was opened again in this use
 *		bits 17..16	state
 *		bits 15..0	count
 *
 * The epoch does not overflow into the sequence number: each time that the
 * request is opened again at least one CPU is added.
 */
enum { CPUSYNC_CLOSED, CPUSYNC_OPEN, CPUSYNC_HELD, CPUSYNC_RELEASED };

#define WORD_SEQ	BIT_ULL(32)
#define WORD_EPOCH	BIT_ULL(18)
#define WORD_STATE	BIT_ULL(16)
#define WORD_COUNT_MASK	(WORD_STATE - 1)
#define WORD_USE_MASK	(~(WORD_EPOCH - 1))	/* sequence number and epoch */

static_assert(WORD_COUNT_MASK >= CONFIG_NR_CPUS);
static_assert(WORD_SEQ / WORD_EPOCH >= CONFIG_NR_CPUS);

static inline unsigned int word_state(u64 w)
{
	return w / WORD_STATE & 3;
}

static inline unsigned int word_count(u64 w)
{
	return w & WORD_COUNT_MASK;
}

static inline bool word_same_use(u64 a, u64 b)
{
	return a / WORD_SEQ == b / WORD_SEQ;
}

static inline u64 word_next(u64 w, unsigned int state, unsigned int count)
{
	return (w & WORD_USE_MASK) | state * WORD_STATE | count;
}

/* Of an initiator. Written by targets: the word only. */
struct cpusync_request {
	atomic64_t		word;
	smp_call_func_t		func;
	void			*info;
	cpumask_var_t		targets;
	cpumask_var_t		fresh;	/* the ones that are still to be kicked */
};

static DEFINE_PER_CPU_SHARED_ALIGNED(struct cpusync_request, cpusync_requests);

/*
 * Of a target. One kick is enough for all that want it: @pending is set by who
 * sends it, and cleared by the target before it looks into @mail.
 */
struct cpusync_box {
	cpumask_var_t		mail;	/* initiators whose request to look at */
	unsigned long		pending;
	call_single_data_t	kick;
};

static DEFINE_PER_CPU_SHARED_ALIGNED(struct cpusync_box, cpusync_boxes);

static DEFINE_PER_CPU(bool, cpusync_inside);
static bool cpusync_ready __ro_after_init;

/*
 * What becomes of holds: of the initiator in the first part, in task context; of
 * the target in the second, in the handler.
 */
struct cpusync_counts {
	unsigned long	holds;
	unsigned long	added;		/* times that a hold was opened again */
	unsigned long	backed_out[CPUSYNC_NR_WHY];
	unsigned long	lost;		/* CPUs that left since somebody oopsed */
	unsigned long	too_long;	/* holds */
	unsigned long	max_wait_us;
	unsigned long	max_hold_us;

	unsigned long	kicks;
	unsigned long	ran;		/* times the function */
	unsigned long	withdrew;
	unsigned long	in_vain;	/* mail: late, stale or doubled */
	unsigned long	max_inside_us;
};

static DEFINE_PER_CPU(struct cpusync_counts, cpusync_counts);

#define count_one(what)	this_cpu_inc(cpusync_counts.what)

static void count_max(unsigned long __percpu *max_us, u64 ns)
{
	unsigned long us = div_u64(ns, NSEC_PER_USEC);

	if (us > this_cpu_read(*max_us))
		this_cpu_write(*max_us, us);
}

/*
 * What a target remembers of a request that it has arrived for. An initiator
 * can back out and open its request again while a virtual CPU is not running:
 * then the word is open, but this CPU is not counted in it.
 */
#define CPUSYNC_SEATS	8

struct cpusync_seat {
	struct cpusync_request	*request;
	u64			word;	/* of the arrival */
};

/*
 * Not local_clock(): without a stable TSC that stands still, one tick after
 * interrupts were switched off. A bound that is not reached is none. For the
 * same reason nobody is held as long as the clocksource is jiffies.
 */
static u64 cpusync_clock(void)
{
	return ktime_get_mono_fast_ns();
}

static u64 cpusync_budget(void)
{
	return (u64)READ_ONCE(budget_us) * NSEC_PER_USEC;
}

static u64 cpusync_deadline(void)
{
	return cpusync_clock() + cpusync_budget();
}

/* Count this CPU in, if @seat's request is open and asks for it. */
static bool cpusync_arrive(struct cpusync_seat *seat)
{
	struct cpusync_request *req = seat->request;
	u64 w;

	do {
		w = atomic64_read_acquire(&req->word);		/* CS:D */
		if (word_state(w) != CPUSYNC_OPEN)
			return false;
		/* The next use changes the mask: then the exchange fails. */
		if (!data_race(cpumask_test_cpu(smp_processor_id(), req->targets)))
			return false;
		seat->word = w;
	} while (!atomic64_try_cmpxchg(&req->word, &w, w - 1));	/* CS:E */

	return true;
}

/* Return: false if this CPU is done with the request. */
static bool cpusync_stay(struct cpusync_seat *seat, u64 *deadline)
{
	struct cpusync_request *req = seat->request;
	u64 w = atomic64_read_acquire(&req->word);	/* CS:H */
	smp_call_func_t func;

	/* Backed out, and opened again for something else. */
	if (!word_same_use(w, seat->word))
		return false;

	switch (word_state(w)) {
	case CPUSYNC_OPEN:
		/* More CPUs were added, which takes its own time. */
		if ((w ^ seat->word) & WORD_USE_MASK) {
			seat->word = w;
			*deadline = cpusync_deadline();
		}
		if ((s64)(cpusync_clock() - *deadline) < 0)
			return true;
		if (!atomic64_try_cmpxchg(&req->word, &w, w + 1))
			return true;
		count_one(withdrew);
		return false;

	case CPUSYNC_HELD:
		if (likely(!cpusync_oopsed()))
			return true;
		return !atomic64_try_cmpxchg(&req->word, &w, w + 1);

	case CPUSYNC_RELEASED:
		func = req->func;
		func(req->info);
		atomic64_dec_return_release(&req->word);	/* CS:I */
		count_one(ran);
		return false;
	}
	return false;
}

/* Look at the request of @cpu, and take a seat if it asks for this CPU. */
static unsigned int cpusync_take(struct cpusync_seat *seats, unsigned int nr,
				 int cpu)
{
	struct cpusync_request *req = per_cpu_ptr(&cpusync_requests, cpu);
	unsigned int i;

	for (i = 0; i < nr; i++) {
		if (seats[i].request != req)
			continue;
		/* Twice the same mail, or a seat that is no longer counted. */
		if (!word_same_use(atomic64_read_acquire(&req->word),
				   seats[i].word) && !cpusync_arrive(&seats[i]))
			seats[i] = seats[--nr];
		return nr;
	}

	seats[nr].request = req;
	if (cpusync_arrive(&seats[nr]))
		return nr + 1;
	count_one(in_vain);
	return nr;
}

/*
 * I3: is it time to leave new mail to the next kick? There is one if the bit is
 * set, since this one has cleared it. What mail there is was posted before that
 * kick looks, no matter by whom.
 */
static bool cpusync_come_back(struct cpusync_box *box, u64 until)
{
	return (s64)(cpusync_clock() - until) >= 0 && test_bit(0, &box->pending);
}

static unsigned int cpusync_next_mail(const struct cpusync_box *box, int cpu)
{
	/* Mail comes at any time: what one look misses, the next one finds. */
	return data_race(cpumask_next(cpu, box->mail));
}

/* The kick: look into the mailbox, and stay as long as somebody wants it. */
static void cpusync_kick(void *unused)
{
	struct cpusync_box *box = this_cpu_ptr(&cpusync_boxes);
	struct cpusync_seat seats[CPUSYNC_SEATS];
	u64 begin = cpusync_clock(), until = begin + cpusync_budget(), deadline = until;
	unsigned int i, nr = 0;
	int cpu;

	/* The kick was unlocked before: who finds the bit clear may send it. */
	smp_mb__before_atomic();
	clear_bit(0, &box->pending);
	smp_mb__after_atomic();						/* CS:L */

	this_cpu_write(cpusync_inside, true);
	do {
		for (cpu = cpusync_next_mail(box, -1); cpu < nr_cpu_ids;
		     cpu = cpusync_next_mail(box, cpu)) {
			if (nr == CPUSYNC_SEATS || cpusync_come_back(box, until))
				break;
			if (cpumask_test_and_clear_cpu(cpu, box->mail))	/* CS:B */
				nr = cpusync_take(seats, nr, cpu);
		}

		for (i = 0; i < nr; ) {
			if (cpusync_stay(&seats[i], &deadline))
				i++;
			else
				seats[i] = seats[--nr];
		}
		cpu_relax();
		/* Nobody would come back for mail that there was no seat for. */
	} while (nr || !(cpusync_next_mail(box, -1) >= nr_cpu_ids ||
			 cpusync_come_back(box, until)));
	this_cpu_write(cpusync_inside, false);

	count_one(kicks);
	count_max(&cpusync_counts.max_inside_us, cpusync_clock() - begin);
}

/**
 * cpusync_this_cpu_held() - was this CPU interrupted by a hold?
 *
 * For NMI handlers that would touch what a hold may be about.
 *
 * Context: Preemption off.
 * Return: true from within the handler, held or about to be. False on the CPU
 * that holds others.
 */
bool cpusync_this_cpu_held(void)
{
	return this_cpu_read(cpusync_inside);
}

/**
 * cpusync_oopsed() - must nobody wait for an initiator any more?
 *
 * The initiator may be what has oopsed, and then nobody releases a hold.
 *
 * Context: Any.
 * Return: true while somebody oopses and, after a moment when it may be false,
 * ever after.
 */
bool cpusync_oopsed(void)
{
	return oops_in_progress || test_taint(TAINT_DIE);
}

/* Limit @mask to those that can be, and are to be, held by this CPU. */
static void cpusync_pick(struct cpusync *cs, struct cpusync_request *req,
			 const struct cpumask *mask)
{
	int cpu;

	cpumask_and(req->fresh, mask, cpu_online_mask);
	cpumask_andnot(req->fresh, req->fresh, req->targets);
	__cpumask_clear_cpu(smp_processor_id(), req->fresh);
	if (!cs->cond)
		return;

	for_each_cpu(cpu, req->fresh)
		if (!cs->cond(cpu, cs->info))
			__cpumask_clear_cpu(cpu, req->fresh);
}

/*
 * Have @cpu look at this CPU's request. A kick that is on its way to it serves:
 * either the target sees the mail, or this CPU sees that it has cleared the bit.
 * That is also why the kick is free whenever its bit is: it is unlocked before
 * its function runs. So this cannot fail; the caller says it if it does, once
 * nobody is held.
 */
static bool cpusync_post(struct cpusync_box *box, int cpu)
{
	/* Not held between the bit and the interrupt, which others count on. */
	guard(irqsave)();
	cpumask_set_cpu(smp_processor_id(), box->mail);
	smp_mb__after_atomic();					/* CS:K */
	if (test_and_set_bit(0, &box->pending) ||
	    likely(!smp_call_function_single_async(cpu, &box->kick)))
		return true;
	clear_bit(0, &box->pending);
	return false;
}

/*
 * The watchdog. Nothing is said while CPUs are held, nor by who held them, since
 * that may be slow: it is put into words, once a second at the most, and said by
 * a worker, once in REPORT_INTERVAL.
 */
#define REPORT_INTERVAL	(10 * HZ)

struct cpusync_note {
	unsigned long	next;		/* no other before, in jiffies */
	bool		said;
	int		cpu;		/* that did not come, or -1 */
	unsigned long	kicks;		/* that it had taken by then */
	char		text[256];
};

static DEFINE_RAW_SPINLOCK(cpusync_note_lock);
static struct cpusync_note cpusync_backed_out = { .next = INITIAL_JIFFIES };
static struct cpusync_note cpusync_too_long = { .next = INITIAL_JIFFIES };

static void cpusync_report(struct cpusync_note *note)
{
	char text[sizeof(note->text)];
	unsigned long kicks;
	bool said;
	int cpu;

	raw_spin_lock_irq(&cpusync_note_lock);
	said = note->said;
	note->said = true;
	strscpy(text, note->text);
	cpu = note->cpu;
	kicks = note->kicks;
	raw_spin_unlock_irq(&cpusync_note_lock);

	if (said || !*text)
		return;
	pr_info("%s\n", text);
	if (cpu < 0)
		return;
	/* The kick that it owed an answer to is still pending: where is it? */
	cpus_read_lock();
	if (cpu_online(cpu) && READ_ONCE(per_cpu(cpusync_counts.kicks, cpu)) == kicks)
		dump_cpu_task(cpu);
	cpus_read_unlock();
}

static void cpusync_watch(struct work_struct *work)
{
	cpusync_report(&cpusync_backed_out);
	cpusync_report(&cpusync_too_long);
}

static DECLARE_DELAYED_WORK(cpusync_watch_work, cpusync_watch);

/* Begin a note on what @cs of this task has waited for, or held, for @ns. */
static bool cpusync_note(struct cpusync_note *note, struct cpusync *cs,
			 struct cpusync_request *req, const char *what, u64 ns,
			 unsigned long *flags)
{
	if (time_before(jiffies, READ_ONCE(note->next)) ||
	    !raw_spin_trylock_irqsave(&cpusync_note_lock, *flags))
		return false;

	WRITE_ONCE(note->next, jiffies + HZ);
	note->said = false;
	note->cpu = -1;
	scnprintf(note->text, sizeof(note->text),
		  "%ps of %s/%d on CPU %d %s CPUs %*pbl for %llu us",
		  cs->func, current->comm, task_pid_nr(current),
		  smp_processor_id(), what, cpumask_pr_args(req->targets),
		  div_u64(ns, NSEC_PER_USEC));
	return true;
}

static void cpusync_note_end(unsigned long flags)
{
	raw_spin_unlock_irqrestore(&cpusync_note_lock, flags);
	schedule_delayed_work(&cpusync_watch_work, REPORT_INTERVAL);
}

/* Once @req is closed. @req->fresh are those that have not looked into it. */
static void cpusync_count_backout(struct cpusync *cs, struct cpusync_request *req,
				  enum cpusync_why why)
{
	struct cpusync_note *note = &cpusync_backed_out;
	u64 ns = cpusync_clock() - cs->begin;
	unsigned long flags, kicks;
	struct task_struct *p;
	size_t len;
	int cpu;

	trace_cpusync_backout(cs->func, req->targets, req->fresh, ns, why);
	count_one(backed_out[why]);
	count_max(&cpusync_counts.max_wait_us, ns);

	if (!cpusync_note(note, cs, req, "has waited in vain for", ns, &flags))
		return;

	rcu_read_lock();
	for_each_cpu(cpu, req->fresh) {
		/* No lock: the runqueue's may be what that CPU is stuck with. */
		p = rcu_dereference(cpu_curr(cpu));
		len = strlen(note->text);
		scnprintf(note->text + len, sizeof(note->text) - len,
			  "; CPU %d did not come, it ran %s/%d", cpu, p->comm,
			  task_pid_nr(p));
		/* Unless it has come since, its kick is one more than these. */
		kicks = READ_ONCE(per_cpu(cpusync_counts.kicks, cpu));
		smp_rmb();	/* in cpusync_kick(), mail is cleared before */
		if (cpumask_test_cpu(smp_processor_id(),
				     per_cpu_ptr(&cpusync_boxes, cpu)->mail)) {
			note->cpu = cpu;
			note->kicks = kicks;
		}
	}
	rcu_read_unlock();
	cpusync_note_end(flags);
}

/* Once it has ended. */
static void cpusync_count_hold(struct cpusync *cs, struct cpusync_request *req,
			       u64 released, unsigned int lost)
{
	u64 wait = cs->held - cs->begin, held = released - cs->held;
	unsigned long flags;

	trace_cpusync_hold(cs->func, req->targets, wait, held, lost);
	count_one(holds);
	count_max(&cpusync_counts.max_wait_us, wait);
	count_max(&cpusync_counts.max_hold_us, held);
	this_cpu_add(cpusync_counts.lost, lost);

	if (held <= (u64)READ_ONCE(long_us) * NSEC_PER_USEC)
		return;
	count_one(too_long);
	if (cpusync_note(&cpusync_too_long, cs, req, "has held", held, &flags))
		cpusync_note_end(flags);
}

/*
 * Interrupt those of @mask that have not looked into their mail. The kick may be
 * queued behind something of a CPU that was held before it sent an interrupt for
 * that, smp_call_function_many() or the like: even by this very request.
 */
static void cpusync_nudge(const struct cpumask *mask)
{
	int cpu;

	for_each_cpu(cpu, mask)
		if (cpumask_test_cpu(smp_processor_id(),
				     per_cpu_ptr(&cpusync_boxes, cpu)->mail))
			arch_send_call_function_single_ipi(cpu);
}

/* Whoever arrives, withdraws or leaves from now on fails to, and sees this. */
static void cpusync_close(struct cpusync_request *req, u64 use)
{
	atomic64_set_release(&req->word, word_next(use, CPUSYNC_CLOSED, 0));
}

/*
 * Open @req, which is @w now, for those of @fresh, and wait for them. Return 0
 * with interrupts off if it was committed, otherwise the request is closed.
 */
static int cpusync_gather(struct cpusync *cs, struct cpusync_request *req,
			  u64 w, u64 use, bool again)
{
	enum cpusync_why why = CPUSYNC_LEFT;
	u64 now, deadline, open = word_next(use, CPUSYNC_OPEN, cpumask_weight(req->fresh));
	bool opened, late, nudged = false, sent = true;
	int cpu;

	/*
	 * A hold that is opened again has interrupts off up to here: nobody
	 * must be able to hold a CPU that is holding. This fails if somebody
	 * has left it because of an oops, or if nobody would stay in it.
	 */
	cpumask_or(req->targets, req->targets, req->fresh);
	opened = !word_count(w) && !cpusync_oopsed() &&
		 atomic64_try_cmpxchg(&req->word, &w, open);	/* CS:C */
	if (!opened)
		cpusync_close(req, use);
	if (again)
		local_irq_restore(cs->flags);
	if (!opened) {
		cpumask_clear(req->fresh);
		cpusync_count_backout(cs, req, CPUSYNC_OOPS);
		return -EAGAIN;
	}

	smp_mb();						/* CS:A */
	for_each_cpu(cpu, req->fresh)
		sent &= cpusync_post(per_cpu_ptr(&cpusync_boxes, cpu), cpu);

	deadline = cpusync_deadline();
	do {
		/* This CPU may have been held itself: look once more at the end. */
		now = cpusync_clock();
		late = (s64)(now - deadline) >= 0;
		if (!nudged && (s64)(now + cpusync_budget() / 2 - deadline) >= 0) {
			cpusync_nudge(req->fresh);
			nudged = true;
		}
		w = atomic64_read(&req->word);
		if (!word_count(w)) {
			local_irq_save(cs->flags);
			if (atomic64_try_cmpxchg(&req->word, &w,	/* CS:F */
						 word_next(w, CPUSYNC_HELD, 0))) {
				if (!again)
					cs->held = cpusync_clock();
				return 0;
			}
			local_irq_restore(cs->flags);
		}
		cpu_relax();
	} while (!late);

	for_each_cpu(cpu, req->fresh) {
		if (cpumask_test_cpu(smp_processor_id(),
				     per_cpu_ptr(&cpusync_boxes, cpu)->mail))
			why = CPUSYNC_ABSENT;
		else
			__cpumask_clear_cpu(cpu, req->fresh);
	}
	cpusync_close(req, use);
	WARN_ON_ONCE(!sent);
	cpusync_count_backout(cs, req, why);
	return -EAGAIN;
}

static void cpusync_end(struct cpusync *cs)
{
	cs->request->func = NULL;
	cs->request = NULL;
	local_bh_enable();
	preempt_enable();
}

/**
 * cpusync_interlock() - hold CPUs, or more CPUs
 * @cs: from cpusync_init(), or one that holds CPUs already
 * @mask: CPUs to hold; offline ones count as held, and run if they come online:
 *	  who minds has taken cpus_read_lock(). If the calling CPU is in it, it
 *	  will run the function as well
 *
 * On success all of @mask spin with interrupts off, and the calling CPU has
 * interrupts, preemption and bottom halves off, until cpusync_deinterlock().
 * While they spin they may run the functions of other holds, which end.
 * Nothing in between may wait for anything, and it has to be short: this is
 * what other CPUs' interrupt latency is made of. With an empty @mask, or only
 * the calling CPU in it, this is all that happens.
 *
 * With CPUs that are held already, the ones of @mask that are not are added.
 * If there are none, nothing happens. Otherwise the hold is reopened: those
 * CPUs stay if the new ones come in time, and what was read before has to be
 * read again, since interrupts were on.
 *
 * Context: Task context, interrupts on unless @cs holds CPUs. Locks may be held
 *	    that are not taken with interrupts off. Does not sleep. Not nested.
 * Return: 0 on success. 1 if CPUs were held, and are now with others, after a
 * gap. -EAGAIN if not all came within budget_us, or somebody oopsed before they
 * were kicked: nobody is held, not even those that were before, nothing ran, and
 * the caller's context is as it was before the first call. (If somebody oopses
 * later, cpusync_deinterlock() says it.) -EBUSY with a warning if the
 * calling CPU holds CPUs for somebody else, or in a wrong context. -EOPNOTSUPP if
 * CPUs cannot be held here, or not yet.
 */
int cpusync_interlock(struct cpusync *cs, const struct cpumask *mask)
{
	struct cpusync_request *req = cs->request;
	bool again = req;
	u64 w, use;
	int err;

	if (IS_ENABLED(CONFIG_PREEMPT_RT) || !cpusync_ready)
		return -EOPNOTSUPP;

	if (!again) {
		lockdep_assert_irqs_enabled();
		if (WARN_ON_ONCE(!in_task() || irqs_disabled()))
			return -EBUSY;

		/* Ticks stand still as a clock: whoever counts them may be held. */
		if (!timekeeping_valid_for_hres() || cpusync_oopsed())
			return -EOPNOTSUPP;

		preempt_disable();
		req = this_cpu_ptr(&cpusync_requests);
		if (WARN_ONCE(req->func, "%ps while this CPU holds others\n", cs->func)) {
			preempt_enable();
			return -EBUSY;
		}
		local_bh_disable();

		req->func = cs->func;
		cpumask_clear(req->targets);
		cs->request = req;
		cs->self = false;
		cs->begin = cpusync_clock();
	}
	cs->self |= cpumask_test_cpu(smp_processor_id(), mask);

	cpusync_pick(cs, req, mask);
	w = atomic64_read(&req->word);
	if (again) {
		if (cpumask_empty(req->fresh))
			return 0;
		use = w + WORD_EPOCH;
	} else {
		use = (w / WORD_SEQ + 1) * WORD_SEQ;
	}

	err = cpusync_gather(cs, req, w, use, again);
	if (err) {
		cpusync_end(cs);
		return err;
	}
	if (again)
		count_one(added);
	return again;
}
EXPORT_SYMBOL_GPL(cpusync_interlock);

/**
 * cpusync_deinterlock() - have everybody run the function, and go on
 * @cs: a hold
 *
 * All CPUs that are held run the function, and so does the calling CPU if it
 * was in the mask; each exactly once, and at the same time. On return they have,
 * and the context is as it was before cpusync_interlock().
 *
 * Context: As cpusync_interlock() has left it.
 * Return: 0. Or how many CPUs have left the hold since somebody oopsed: they were
 * running while the caller took them to stand still, and those that had not left
 * have run the function twice.
 */
int cpusync_deinterlock(struct cpusync *cs)
{
	struct cpusync_request *req = cs->request;
	u64 now, w;
	unsigned int nr, lost;

	if (WARN_ON_ONCE(!req))
		return 0;

	/* Targets that leave early change the count, so this may have to retry. */
	req->info = cs->info;
	nr = cpumask_weight(req->targets);
	w = atomic64_read(&req->word);
	do {
		lost = word_count(w);
	} while (!atomic64_try_cmpxchg(&req->word, &w,		/* CS:G */
				       word_next(w, CPUSYNC_RELEASED, nr - lost)));
	now = cpusync_clock();

	if (cs->self)
		cs->func(cs->info);
	local_irq_restore(cs->flags);

	while (word_count(atomic64_read_acquire(&req->word)))	/* CS:J */
		cpu_relax();
	cpusync_close(req, w);

	/* Somebody oopsed. It is not known who went, so that all do it again. */
	if (unlikely(lost))
		smp_call_function_many(req->targets, cs->func, cs->info, true);

	cpusync_count_hold(cs, req, now, lost);
	cpusync_end(cs);
	return lost;
}
EXPORT_SYMBOL_GPL(cpusync_deinterlock);

/**
 * cpusync_held_mask() - which CPUs are held, or were until just now
 * @cs: a hold, or one that has ended since preemption was last disabled
 *
 * Context: Preemption off.
 * Return: the CPUs that are held, or that have run the function.
 */
const struct cpumask *cpusync_held_mask(const struct cpusync *cs)
{
	return this_cpu_ptr(&cpusync_requests)->targets;
}
EXPORT_SYMBOL_GPL(cpusync_held_mask);

static int __init cpusync_setup(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct cpusync_request *req = per_cpu_ptr(&cpusync_requests, cpu);

		struct cpusync_box *box = per_cpu_ptr(&cpusync_boxes, cpu);
		int node = cpu_to_node(cpu);

		INIT_CSD(&box->kick, cpusync_kick, NULL);
		if (!zalloc_cpumask_var_node(&req->targets, GFP_KERNEL, node) ||
		    !zalloc_cpumask_var_node(&req->fresh, GFP_KERNEL, node) ||
		    !zalloc_cpumask_var_node(&box->mail, GFP_KERNEL, node)) {
			pr_warn("no memory: CPUs will not be held\n");
			return -ENOMEM;
		}
	}
	cpusync_ready = true;
	return 0;
}
early_initcall(cpusync_setup);

/* debugfs: cpusync/stats */

static const struct {
	const char	*name;
	unsigned int	offset;
	bool		max;
} cpusync_columns[] = {
#define COLUMN(name, field)	{ #name, offsetof(struct cpusync_counts, field), false }
#define COLUMN_MAX(field)	{ #field, offsetof(struct cpusync_counts, field), true }
	COLUMN(holds,		holds),
	COLUMN(added,		added),
	COLUMN(absent,		backed_out[CPUSYNC_ABSENT]),
	COLUMN(left,		backed_out[CPUSYNC_LEFT]),
	COLUMN(oops,		backed_out[CPUSYNC_OOPS]),
	COLUMN(lost,		lost),
	COLUMN(too_long,	too_long),
	COLUMN_MAX(max_wait_us),
	COLUMN_MAX(max_hold_us),
	COLUMN(kicks,		kicks),
	COLUMN(ran,		ran),
	COLUMN(withdrew,	withdrew),
	COLUMN(in_vain,		in_vain),
	COLUMN_MAX(max_inside_us),
#undef COLUMN
#undef COLUMN_MAX
};

static int cpusync_stats_show(struct seq_file *m, void *unused)
{
	unsigned long all[ARRAY_SIZE(cpusync_columns)] = {}, n;
	int cpu, i;

	seq_puts(m, "cpu");
	for (i = 0; i < ARRAY_SIZE(cpusync_columns); i++)
		seq_printf(m, " %s", cpusync_columns[i].name);
	for_each_possible_cpu(cpu) {
		seq_printf(m, "\n%d", cpu);
		for (i = 0; i < ARRAY_SIZE(cpusync_columns); i++) {
			n = READ_ONCE(*(unsigned long *)((void *)per_cpu_ptr(&cpusync_counts, cpu) +
							 cpusync_columns[i].offset));
			all[i] = cpusync_columns[i].max ? max(all[i], n) : all[i] + n;
			seq_printf(m, " %lu", n);
		}
	}
	seq_puts(m, "\nall");
	for (i = 0; i < ARRAY_SIZE(cpusync_columns); i++)
		seq_printf(m, " %lu", all[i]);
	seq_putc(m, '\n');

	raw_spin_lock_irq(&cpusync_note_lock);
	if (*cpusync_backed_out.text)
		seq_printf(m, "%s\n", cpusync_backed_out.text);
	if (*cpusync_too_long.text)
		seq_printf(m, "%s\n", cpusync_too_long.text);
	raw_spin_unlock_irq(&cpusync_note_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(cpusync_stats);

static int __init cpusync_debugfs(void)
{
	debugfs_create_file("stats", 0444, debugfs_create_dir("cpusync", NULL),
			    NULL, &cpusync_stats_fops);
	return 0;
}
late_initcall(cpusync_debugfs);

static noinline void cpusync_simple_traced(const struct cpumask *mask,
					   smp_cond_func_t cond,
					   smp_call_func_t func, void *info)
{
	u64 start = cpusync_clock();

	trace_cpusync_begin(func, mask);
	on_each_cpu_cond_mask(cond, func, info, true, mask);
	trace_cpusync_end(func, cpusync_clock() - start);
}

/**
 * cpusync_simple() - run a function on a set of CPUs, without holding them
 * @mask: CPUs to run on; those that are offline count as done
 * @cond: asked once for each CPU of @mask, on the calling CPU, with @info; the
 *	  CPU is left out when it says no. NULL: all of @mask
 * @func: function to run, in interrupt context on other CPUs, with interrupts
 *	  off on the calling one. Must be fast and must not sleep
 * @info: argument of @cond and @func
 *
 * One kick per target. @func runs exactly once on every CPU that is left, the
 * calling CPU included if it is in @mask, and has run everywhere on return.
 *
 * No target waits for another one. So this has no liveness conditions beyond
 * those of smp_call_function_many(), on which it is built.
 *
 * Context: Task context, interrupts on. May be preempted, and continue on
 *	    another CPU, while it waits for the targets.
 */
void cpusync_simple(const struct cpumask *mask, smp_cond_func_t cond,
		    smp_call_func_t func, void *info)
{
	/* Nothing but a kick if nobody looks: the clock is not free. */
	if (trace_cpusync_begin_enabled() || trace_cpusync_end_enabled())
		cpusync_simple_traced(mask, cond, func, info);
	else
		on_each_cpu_cond_mask(cond, func, info, true, mask);
}
EXPORT_SYMBOL_GPL(cpusync_simple);
