"""The full-screen view of a running instance: what is shown (model, blockers, lines, actions) and the
widgets that show it (app, table, logpane, dialogs). Only the widgets import Textual. Importing the package
loads nothing.
"""
