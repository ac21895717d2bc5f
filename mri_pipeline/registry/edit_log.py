"""Log of the operations of the readers in the browser. It is a chain: each contains the hash of the one before."""

from __future__ import annotations

from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from mri_pipeline.core.errors import UsageError
from mri_pipeline.registry.assignment_records import AssignmentState, Edit
from mri_pipeline.registry.database import reading, writing
from mri_pipeline.registry.schema import AssignmentRow, EditRow


class EditLog:
    """Operations on the assignments of one trial. Each method is one transaction.

    Parameters
    ----------
    engine : Engine
        Of the registry's database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def edits(self, code: str) -> list[Edit]:
        """The operations of an assignment.

        Parameters
        ----------
        code : str

        Returns
        -------
        list of Edit
            In their order.

        Raises
        ------
        UsageError
            If an operation was changed, removed or inserted.
        """
        query = select(EditRow).filter_by(assignment=code).order_by(EditRow.number)
        with reading(self._engine) as session:
            found = [Edit(r.number, r.at, r.kind, r.body, r.previous) for r in session.scalars(query)]
        head = ""
        for number, edit in enumerate(found, start=1):
            if edit.number != number or edit.previous != head:
                raise UsageError(
                    f"expected the unbroken log of a reading, found a changed one at operation {number}",
                    hint="restore the registry from its backup and report the deviation",
                )
            head = edit.hash
        return found

    def add(self, code: str, edit: Edit, *, holder: str) -> bool:
        """Append an operation. When the method returns, the operation is on the disk.

        Parameters
        ----------
        code : str
        edit : Edit
            The next one.
        holder : str
            Name of the browser tab that edits.

        Returns
        -------
        bool
            False if the log has an operation of this number, or the assignment is not open. Nothing is stored then.

        Raises
        ------
        PermissionError
            If the tab does not hold the lease.
        """
        try:
            with writing(self._engine) as session:
                row = session.get_one(AssignmentRow, code)
                if row.lease_holder != holder:
                    raise PermissionError(holder)
                if row.state != AssignmentState.OPEN.value or count_edits(session, code) != edit.number - 1:
                    return False
                values = {"number": edit.number, "at": edit.at, "kind": edit.kind, "body": edit.body}
                session.add(EditRow(assignment=code, previous=edit.previous, **values))
        except IntegrityError:
            return False
        return True


def count_edits(session: Session, code: str) -> int:
    """Number of operations of an assignment.

    Parameters
    ----------
    session : sqlalchemy.orm.Session
    code : str

    Returns
    -------
    int
    """
    return session.scalar(select(func.count()).select_from(EditRow).filter_by(assignment=code)) or 0
