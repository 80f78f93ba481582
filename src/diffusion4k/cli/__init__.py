"""The command line: one thin file per verb, no logic. Heavy libraries are imported by the verbs."""
