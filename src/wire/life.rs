//! What the threads of a broker are told from outside, where several brokers share a process: to run, to stand still, to end.
//!
//! To stand still is what SIGSTOP does to a process, as others see it: each thread that could take, answer or send something blocks where it is,
//! between two steps of its tasks; sockets stay open, and time goes on. Threads that only write to the disk finish what they have.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Run,
    /// For the time of this number: who stood still before goes on first, even if it has not noticed that it may.
    StandStill(u64),
    End,
}

/// The order under which the threads of one run of a broker are. A broker that has its process for itself is never told anything.
#[derive(Debug)]
pub struct Life {
    order: watch::Sender<Order>,
    /// The threads that stand still.
    standing: watch::Sender<usize>,
    /// The threads beside the runtime's that obey.
    obeying: AtomicUsize,
    /// How often it was ordered to stand still.
    times: Mutex<u64>,
    changed: Condvar,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            order: watch::Sender::new(Order::Run),
            standing: watch::Sender::new(0),
            obeying: AtomicUsize::new(0),
            times: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

/// A thread of its own that obeys, while it does.
struct Obeying<'a>(&'a AtomicUsize);

impl Drop for Obeying<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Life {
    /// Has the threads stand still: all workers of the broker's runtime, and those that [`Self::obey`]. When it returns, all do. A call that
    /// is given up leaves some of them standing; [`Self::go_on`] lets them go.
    pub async fn stand_still(self: &Arc<Self>, runtime: &Handle) {
        self.give(|times| {
            *times += 1;
            Order::StandStill(*times)
        });
        // One after the other: a worker that stands takes no second task, so each comes to another worker.
        for _ in 0..runtime.metrics().num_workers() {
            let (arrives, arrived) = oneshot::channel();
            let life = Arc::clone(self);
            runtime.spawn(async move {
                let _nobody_waits = arrives.send(());
                life.block();
            });
            if arrived.await.is_err() {
                return;
            }
        }
        let all = runtime.metrics().num_workers() + self.obeying.load(Ordering::Acquire);
        let mut standing = self.standing.subscribe();
        while *standing.borrow_and_update() < all && standing.changed().await.is_ok() {}
    }

    /// Lets the threads go on.
    pub fn go_on(&self) {
        self.give(|_| Order::Run);
    }

    /// Tells the threads to end, also those that stand still.
    pub fn end(&self) {
        self.give(|_| Order::End);
    }

    /// For a thread of its own, whose runtime has no other thread: stands still while that is ordered, and ends when the broker is to end.
    pub async fn obey(&self) {
        self.obeying.fetch_add(1, Ordering::AcqRel);
        let _obeying = Obeying(&self.obeying);
        let mut order = self.order.subscribe();
        loop {
            let now = *order.borrow_and_update();
            match now {
                Order::Run => {
                    if order.changed().await.is_err() {
                        return;
                    }
                }
                Order::StandStill(_) => self.block(),
                Order::End => return,
            }
        }
    }

    fn give(&self, order: impl FnOnce(&mut u64) -> Order) {
        let mut times = self.times();
        self.order.send_replace(order(&mut times));
        self.changed.notify_all();
    }

    /// Blocks this thread while it is to stand still.
    fn block(&self) {
        let mut times = self.times();
        let order = *self.order.borrow();
        self.standing.send_modify(|standing| *standing += 1);
        while matches!(order, Order::StandStill(_)) && *self.order.borrow() == order {
            times = self.changed.wait(times).unwrap_or_else(PoisonError::into_inner);
        }
        self.standing.send_modify(|standing| *standing -= 1);
    }

    fn times(&self) -> MutexGuard<'_, u64> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// A runtime whose tasks count their steps as fast as they can.
    fn busy(steps: &Arc<AtomicU64>) -> Runtime {
        let runtime = Builder::new_multi_thread().worker_threads(3).build().unwrap();
        for _ in 0..8 {
            let steps = Arc::clone(steps);
            runtime.spawn(async move {
                loop {
                    steps.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
        }
        runtime
    }

    fn until_more(steps: &AtomicU64) {
        let before = steps.load(Ordering::Relaxed);
        while steps.load(Ordering::Relaxed) == before {
            thread::yield_now();
        }
    }

    #[tokio::test]
    async fn what_stands_still_takes_no_step_until_it_goes_on() {
        let (life, steps, own) = (Arc::new(Life::default()), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let runtime = busy(&steps);
        let (on_thread, counted) = (Arc::clone(&life), Arc::clone(&own));
        let alone = thread::spawn(move || {
            Builder::new_current_thread().build().unwrap().block_on(async move {
                let counting = async {
                    loop {
                        counted.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                };
                tokio::select! {
                    () = on_thread.obey() => {}
                    () = counting => {}
                }
            });
        });
        for _ in 0..20 {
            until_more(&steps);
            until_more(&own);
            life.stand_still(runtime.handle()).await;
            let still = [&steps, &own].map(|count| count.load(Ordering::Relaxed));
            // What still ran would get the processor here.
            (0..200).for_each(|_| thread::yield_now());
            assert_eq!([&steps, &own].map(|count| count.load(Ordering::Relaxed)), still);
            life.go_on();
        }
        life.stand_still(runtime.handle()).await;
        life.end();
        alone.join().unwrap();
        runtime.shutdown_background();
    }
}
