"""Registration of the visits of a subject, and the selection of those analysed together."""
