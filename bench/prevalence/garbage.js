// SPDX-License-Identifier: GPL-2.0
// usage: node garbage.js THREADS ROUNDS
//
// Objects with strings, arrays and typed arrays, most of which die at once, and
// a map of 1024 that live longer, per thread. Prints "garbage bytes=N", what was
// found again in them, which does not depend on timing.
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

function found(o) {
	return o.text.length + o.list.length + (o.data[o.data.length - 1] === (o.id & 255) ? o.data.length : 0);
}

function work(seed, rounds) {
	const kept = new Map();
	let x = seed, sum = 0;

	for (let i = 0; i < rounds; i++) {
		x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
		const o = { id: i, text: 'node ' + x, list: new Array(1 + x % 64).fill(i), data: new Uint8Array(1 + (x >>> 19)) };
		o.data[o.data.length - 1] = i & 255;
		const key = (x >>> 10) % 1024, old = kept.get(key);
		if (old)
			sum += found(old);
		kept.set(key, o);
	}
	for (const o of kept.values())
		sum += found(o);
	return sum;
}

if (isMainThread) {
	const threads = Number(process.argv[2]), rounds = Number(process.argv[3]);
	let sum = 0, left = threads;

	for (let i = 0; i < threads; i++)
		new Worker(__filename, { workerData: { seed: i + 1, rounds } }).on('message', (n) => {
			sum += n;
			if (--left === 0)
				console.log('garbage bytes=' + sum);
		});
} else {
	parentPort.postMessage(work(workerData.seed, workerData.rounds));
}
