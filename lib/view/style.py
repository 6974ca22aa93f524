"""The style sheet of the view: plain lines, the terminal's own colours, nothing that needs more than 16."""

CSS = """
Screen { background: ansi_default; color: ansi_default; layout: vertical; }
#head { height: 1; text-style: bold; text-wrap: nowrap; }
#table { max-height: 45%; min-height: 3; }
#title { height: 1; text-wrap: nowrap; }
#log { height: 1fr; }
#blockers { height: 1fr; display: none; scrollbar-size-vertical: 1; }
#tree { height: auto; }
#input { display: none; height: 1; border: none; background: ansi_default; }
#keys { height: 1; text-wrap: nowrap; link-style: none; link-style-hover: reverse;
        link-color: ansi_default; link-background: ansi_default;
        link-color-hover: ansi_default; link-background-hover: ansi_default; }

Question, Help { align: center middle; background: transparent; }
#box { width: auto; max-width: 90%; height: auto; max-height: 90%; border: round ansi_default; padding: 0 1;
       background: ansi_default; }
Question #box { width: 60; }
#box Static { width: auto; max-width: 100%; height: auto; }
Question #box Static { width: 100%; }
#buttons { height: 1; margin: 1 0 0 0; align-horizontal: right; }
#buttons Button { margin: 0 0 0 2; background: ansi_default; color: ansi_default; }
#buttons Button:focus { text-style: reverse; }
"""
