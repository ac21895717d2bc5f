/**
 * What the browser keeps until the server has it: operations that wait, operations that did not fit, and the history
 * of undo. All keys are random codes of assignments; nothing names a person.
 *
 * @typedef {{assignment: string, number: number, op: any}} Waiting
 * @typedef {{id?: number, assignment: string, op: any, detail: string}} Refused
 */

/** @param {IDBRequest} request @returns {Promise<any>} */
function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
function complete(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = () => reject(transaction.error);
    transaction.onabort = () => reject(transaction.error);
  });
}

export class Journal {
  /** @param {IDBDatabase} db @param {string} assignment */
  constructor(db, assignment) {
    this.db = db;
    this.assignment = assignment;
  }

  /** @param {string} assignment @returns {Promise<Journal>} */
  static async open(assignment) {
    const request = indexedDB.open("reading", 1);
    request.onupgradeneeded = () => {
      const db = request.result;
      db.createObjectStore("waiting", { keyPath: ["assignment", "number"] });
      db.createObjectStore("refused", { keyPath: "id", autoIncrement: true });
      db.createObjectStore("history", { keyPath: ["assignment", "at"] });
      db.createObjectStore("pointer", { keyPath: "assignment" });
    };
    return new Journal(await result(request), assignment);
  }

  get range() {
    return IDBKeyRange.bound([this.assignment, -1], [this.assignment, Number.MAX_SAFE_INTEGER]);
  }

  /** @param {string[]} stores @param {(t: IDBTransaction) => void} work */
  async write(stores, work) {
    const transaction = this.db.transaction(stores, "readwrite", { durability: "strict" });
    work(transaction);
    await complete(transaction);
  }

  /** Operations that wait, in order. @returns {Promise<Waiting[]>} */
  waiting() {
    return result(this.db.transaction("waiting").objectStore("waiting").getAll(this.range));
  }

  /** @param {Waiting} item */
  add(item) {
    return this.write(["waiting"], (t) => t.objectStore("waiting").put(item));
  }

  /** @param {number} number */
  remove(number) {
    return this.write(["waiting"], (t) => t.objectStore("waiting").delete([this.assignment, number]));
  }

  /** Replace all that waits and set aside what does not fit, in one transaction. @param {Waiting[]} items @param {Refused[]} refused */
  replace(items, refused) {
    return this.write(["waiting", "refused"], (t) => {
      const store = t.objectStore("waiting");
      store.delete(this.range);
      items.forEach((item) => store.put(item));
      refused.forEach((item) => t.objectStore("refused").put(item));
    });
  }

  /** @returns {Promise<Refused[]>} */
  async refused() {
    const all = await result(this.db.transaction("refused").objectStore("refused").getAll());
    return all.filter((item) => item.assignment === this.assignment);
  }

  /** @param {number} id */
  dismiss(id) {
    return this.write(["refused"], (t) => t.objectStore("refused").delete(id));
  }

  /** Store one entry of the history and forget those after it. @param {number} at @param {any} entry @param {number} number of the next operation */
  remember(at, entry, number) {
    return this.write(["history", "pointer"], (t) => {
      t.objectStore("history").delete(IDBKeyRange.bound([this.assignment, at], [this.assignment, Number.MAX_SAFE_INTEGER]));
      t.objectStore("history").put({ assignment: this.assignment, at, entry });
      t.objectStore("pointer").put({ assignment: this.assignment, at: at + 1, number });
    });
  }

  /** @param {number} at entries before it are done, those from it on undone @param {number} number of the next operation */
  point(at, number) {
    return this.write(["pointer"], (t) => t.objectStore("pointer").put({ assignment: this.assignment, at, number }));
  }

  /** History of undo, if nothing was done elsewhere since. @param {number} number of the next operation */
  async history(number) {
    const transaction = this.db.transaction(["history", "pointer"]);
    const [entries, pointer] = await Promise.all([
      result(transaction.objectStore("history").getAll(this.range)),
      result(transaction.objectStore("pointer").get(this.assignment)),
    ]);
    if (!pointer || pointer.number !== number) return { entries: [], at: 0 };
    return { entries: entries.map((item) => item.entry), at: pointer.at };
  }

  /** Forget the history, after the signature. */
  forget() {
    return this.write(["history", "pointer"], (t) => {
      t.objectStore("history").delete(this.range);
      t.objectStore("pointer").delete(this.assignment);
    });
  }
}
