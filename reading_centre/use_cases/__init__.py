"""Functions behind the commands, without the command line. The web application uses them, too.

``trial`` keeps the folder of a trial, ``uploads`` takes in scans, ``analysis`` runs the workflows, ``reading`` has the
reads, ``tables`` the results, ``office`` the views for the staff. ``demo``, ``qualify`` and ``serve`` use all of them.
"""
