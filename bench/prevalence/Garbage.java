// SPDX-License-Identifier: GPL-2.0
/*
 * usage: java Garbage THREADS ROUNDS
 *
 * Each thread keeps 2048 arrays of up to 16 KB in a map and replaces one per
 * round, so that both short-lived and long-lived garbage is made. Prints
 * "garbage bytes=N", the bytes that were allocated and found again, which do not
 * depend on timing.
 */
import java.util.HashMap;
import java.util.concurrent.atomic.AtomicLong;

public class Garbage {
	static long work(long seed, int rounds) {
		HashMap<Integer, byte[]> kept = new HashMap<>();
		long x = seed, sum = 0;

		for (int i = 0; i < rounds; i++) {
			x = x * 6364136223846793005L + 1442695040888963407L;
			byte[] fresh = new byte[64 + (int) (x >>> 50)];
			fresh[fresh.length - 1] = (byte) fresh.length;
			byte[] old = kept.put((int) (x >>> 33) % 2048, fresh);
			if (old != null)
				sum += found(old);
		}
		for (byte[] left : kept.values())
			sum += found(left);
		return sum;
	}

	static long found(byte[] b) {
		return b[b.length - 1] == (byte) b.length ? b.length : 0;
	}

	public static void main(String[] args) throws InterruptedException {
		Thread[] threads = new Thread[Integer.parseInt(args[0])];
		int rounds = Integer.parseInt(args[1]);
		AtomicLong sum = new AtomicLong();

		for (int i = 0; i < threads.length; i++) {
			long seed = i + 1;
			threads[i] = new Thread(() -> sum.addAndGet(work(seed, rounds)));
			threads[i].start();
		}
		for (Thread t : threads)
			t.join();
		System.out.println("garbage bytes=" + sum);
	}
}
