"""Three themes besides Textual's own: dark and light ones that are easy on the eyes all day, and high contrast.

In: nothing. Out: themes to register. One accent for what is active, greys for the rest, red only for recording and
errors.
"""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.color import Color
from textual.theme import Theme

THEMES = (
    Theme(
        name="convo-dark",
        primary="#7aa2c4",
        secondary="#8fb8a8",
        accent="#e3b778",
        foreground="#c6ccd4",
        background="#11151a",
        surface="#161b21",
        panel="#1d242c",
        success="#93b87a",
        warning="#e0a458",
        error="#ea8c93",
        dark=True,
        variables={
            "bright": "#ffffff",
            "faint": "#919ca9",
            "rule": "#2a333d",
            "live": "#f08189",
            "speaker-1": "#7fb4e6",
            "speaker-2": "#f0a35e",
            "speaker-3": "#8fd19e",
            "speaker-4": "#e79ac2",
            "speaker-5": "#6fd3d3",
            "speaker-6": "#c8a6f2",
            "footer-background": "#161b21",
            "footer-key-foreground": "#e3b778",
            "footer-description-foreground": "#8e98a5",
            "input-selection-background": "#7aa2c4 35%",
            "block-cursor-background": "#24303b",
            "block-cursor-foreground": "#ffffff",
            "block-cursor-text-style": "none",
            "block-cursor-blurred-background": "#1d242c",
            "block-cursor-blurred-foreground": "#c6ccd4",
            "scrollbar": "#2a333d",
            "scrollbar-hover": "#3a4653",
            "scrollbar-active": "#7aa2c4",
            "scrollbar-background": "#11151a",
            "scrollbar-background-hover": "#11151a",
            "scrollbar-background-active": "#11151a",
            "scrollbar-corner-color": "#11151a",
        },
    ),
    Theme(
        name="convo-light",
        primary="#33698c",
        secondary="#3f7566",
        accent="#7d4e08",
        foreground="#33383f",
        background="#fbfaf7",
        surface="#f3f1ec",
        panel="#eae7e0",
        success="#3f6628",
        warning="#834d00",
        error="#a52c35",
        dark=False,
        variables={
            "bright": "#000000",
            "faint": "#5b616a",
            "rule": "#d9d5cc",
            "live": "#ac2b36",
            "speaker-1": "#1f5fa8",
            "speaker-2": "#8a4b00",
            "speaker-3": "#2b6b2f",
            "speaker-4": "#a1246b",
            "speaker-5": "#00626b",
            "speaker-6": "#5b3fa8",
            "footer-background": "#f3f1ec",
            "footer-key-foreground": "#7d4e08",
            "footer-description-foreground": "#5b616a",
            "input-selection-background": "#33698c 25%",
            "block-cursor-background": "#dfe6ea",
            "block-cursor-foreground": "#000000",
            "block-cursor-text-style": "none",
            "block-cursor-blurred-background": "#eae7e0",
            "block-cursor-blurred-foreground": "#33383f",
            "scrollbar": "#d3cfc5",
            "scrollbar-hover": "#bdb8ac",
            "scrollbar-active": "#33698c",
            "scrollbar-background": "#fbfaf7",
            "scrollbar-background-hover": "#fbfaf7",
            "scrollbar-background-active": "#fbfaf7",
            "scrollbar-corner-color": "#fbfaf7",
        },
    ),
    Theme(
        name="convo-contrast",
        primary="#80d0ff",
        secondary="#80ffb0",
        accent="#ffff00",
        foreground="#f2f2f2",
        background="#000000",
        surface="#000000",
        panel="#1a1a1a",
        success="#80ff80",
        warning="#ffd000",
        error="#ff8a8a",
        dark=True,
        variables={
            "bright": "#ffff00",
            "faint": "#c4c4c4",
            "rule": "#9a9a9a",
            "live": "#ff8080",
            "speaker-1": "#80c8ff",
            "speaker-2": "#ffb84d",
            "speaker-3": "#7dff8a",
            "speaker-4": "#ff9bd6",
            "speaker-5": "#66ffff",
            "speaker-6": "#d2b3ff",
            "footer-background": "#000000",
            "footer-key-foreground": "#ffff00",
            "footer-description-foreground": "#ffffff",
            "block-cursor-background": "#003a80",
            "block-cursor-foreground": "#ffffff",
            "block-cursor-text-style": "bold",
            "block-cursor-blurred-background": "#4d4d00",
            "block-cursor-blurred-foreground": "#ffffff",
            "scrollbar": "#9a9a9a",
            "scrollbar-background": "#000000",
        },
    ),
)

_SPEAKERS = ("primary", "warning", "success", "accent", "secondary", "error")

FALLBACK = {"bright": "foreground", "faint": "foreground-muted", "rule": "panel", "live": "error"} | {
    f"speaker-{number}": name for number, name in enumerate(_SPEAKERS, 1)
}
"""Our own variables, and the stand-in for each in Textual's themes."""


def colour(app: App[Any], name: str) -> str:
    """A colour of the theme as a Rich style; empty if colours are off."""
    if app.no_color:
        return ""
    background = Color.parse(app.theme_variables["background"])
    return background.blend(colour := Color.parse(app.theme_variables[name]), colour.a).hex6
