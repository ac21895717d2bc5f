/** A page that shows the state of a job: it is loaded again until the job has ended. */

const EVERY_MS = 3000;

setTimeout(() => location.reload(), EVERY_MS);
