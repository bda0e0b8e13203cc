"""Who speaks in a simulated call and what is said. People, companies and words are invented."""

import random
from dataclasses import dataclass

from worker.simulate.script.endings import INBOUND, OUTBOUND, WEB


@dataclass(frozen=True, slots=True)
class Assistant:
    """An assistant as it is configured at Vapi, with the lines that it and its callers know."""

    id: str
    name: str
    prompt: str
    greeting: str
    tool: str
    bot_lines: tuple[str, ...]
    user_lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """One entry of a conversation, in Vapi's roles: bot, user, tool_calls, tool_call_result."""

    role: str
    text: str


_RULES = (
    "Be brief and warm.\n\nRules\n1. Say who you are and that the call is recorded before anything else.\n"
    "2. Read dates as weekday, month and day; read times with AM or PM.\n3. Never promise a time before the tool has "
    "confirmed it.\n4. If the person asks not to be called again, say so in the summary and end the call politely.\n"
    "5. Numbers, prices and names come from the tools, never from memory.\nCustomer: {{customer.name}}."
)

ASSISTANTS = {
    OUTBOUND: Assistant(
        id="5f0c6f52-91d7-4b6e-a8f3-2d4e6a8c0b11",
        name="Iris - recall",
        prompt="You are Iris of Linden Dental. Confirm or move the appointment of the person you call. " + _RULES,
        greeting="Hi, this is Iris from Linden Dental on a recorded line. Is this a good moment?",
        tool="find_slot",
        bot_lines=(
            "I'm calling about your cleaning next week. Does Thursday at two thirty PM still work for you?",
            "Of course. Let me look at the mornings of that week, one moment.",
            "I have Tuesday at nine AM, Thursday at eight thirty AM, or Friday at ten fifteen AM. Which one?",
            "That's booked, and the old one is canceled. You'll get a text message to confirm 🦷.",
            "I can't advise on treatment, but I can ask the front desk to call you back today. Would that help?",
            "Dr. Núñez is in on Thursday, Dr. Østergaard on Friday.",
            "Let me read that back to you, so that nothing goes wrong on the day.",
        ),
        user_lines=(
            "Oh, actually no, something came up at work. Could we do it the week after, maybe in the morning?",
            "Thursday is perfect.",
            "Yes please. And, um, do I need to fast or anything like that?",
            "Could you say that again? The line was bad for a second.",
            "My name is spelled with an umlaut, Jürgen, not Jurgen.",
            "Sure, that'd be great. After five would be best 👍",
            "No, that's it. Thanks a lot.",
        ),
    ),
    INBOUND: Assistant(
        id="b3a1d9c4-77e2-4f08-9c65-10f2e4d6c822",
        name="Otto - first line",
        prompt="You are Otto, first line of Kestrel Heating. Find out what fails and open a visit. " + _RULES,
        greeting="Thanks for calling Kestrel Heating, this is Otto, on a recorded line. What can I help with?",
        tool="open_visit",
        bot_lines=(
            "I'm sorry to hear that. Since when has the boiler been cold?",
            "Is there a code on the display? It starts with an E and two digits.",
            "Thank you. I am checking who is on call in your area.",
            "A technician can be with you between four and six PM today. Shall I book it?",
            "The call-out is covered by your plan; parts are not, and you'd hear the price before anything is fitted.",
            "It is -12 °C tonight, so I have marked the visit as urgent.",
            "I'll put you through to the technician on call. Please stay on the line.",
        ),
        user_lines=(
            "Since last night, about seven. The whole house is freezing 🥶",
            "It says E17, or maybe E11, the display is half broken.",
            "Yes, we're at home all afternoon. The bell says Wójcik.",
            "Can't somebody come earlier? My mother is eighty-four.",
            "I'd rather talk to a person, please.",
            "Okay, that sounds good.",
            "¿Habla español? No? That's fine, English works.",
        ),
    ),
    WEB: Assistant(
        id="e6d8b0a2-3c4f-4e1a-8b97-4a6c8e0d2f33",
        name="Juno - shop",
        prompt="You are Juno, the voice of the Pebble and Pine web shop. Help visitors to choose a tent. " + _RULES,
        greeting="Hey, I'm Juno from Pebble and Pine. Looking for something to sleep in out there?",
        tool="search_catalog",
        bot_lines=(
            "How many people, and do you carry it or does a car?",
            "For two people on foot I'd look at the Lärche 2: 1.4 kilos, and it stands without pegs.",
            "It's in stock in moss green and in orange. Orange is easier to find at night ⛺.",
            "Delivery takes three days. Returns are free for a month.",
            "The poles are aluminum; the light version has carbon ones, for sixty more.",
            "On a scale from zero to ten, how likely are you to tell a friend about us?",
        ),
        user_lines=(
            "Two of us, and we carry everything. The café at the trailhead recommended you.",
            "What about the wind? We had a tent fold up on us in the Sierra.",
            "Hm, that's more than I wanted to spend.",
            "And what are the poles made of?",
            "I'd say eight. 🙂",
            "Let me think about it. Thanks, Juno.",
        ),
    ),
}

PEOPLE = (
    "Zoë Müller", "José Ibáñez", "Łukasz Wójcik", "Priya Raman", "Anaïs Lefèvre", "李雷", "Gwen Adeyemi",
    "Søren Dahl", "Maya O'Neill", "Tomás Ñuñez", "Fatima Al-Sayed", "Björk Ása", "Samuel Reed",
)  # fmt: skip

# A turn stands five times in a report: twice as a message, once in OpenAI's format, twice in a transcript.
_COPIES = 5
_TURN_OVERHEAD_BYTES = 318
_TOOL_OVERHEAD_BYTES = 1130
_TURNS_PER_TOOL_USE = 8


def converse(rng: random.Random, assistant: Assistant, budget_bytes: int) -> tuple[Turn, ...]:
    """Let the two talk until the turns fill about `budget_bytes` of a report; a greeting and a reply at the least."""
    turns = [Turn("bot", assistant.greeting), Turn("user", rng.choice(assistant.user_lines))]
    left = budget_bytes - sum(_turn_bytes(turn) for turn in turns)
    while left > 0:
        said = _exchange(rng, assistant, len(turns))
        left -= sum(_turn_bytes(turn) for turn in said)
        turns.extend(said)
    return tuple(turns)


def transcript_of(turns: tuple[Turn, ...]) -> str:
    """Write the spoken turns as Vapi does: one line each, labelled AI and User."""
    labels = {"bot": "AI", "user": "User"}
    return "".join(f"{labels[turn.role]}: {turn.text}\n" for turn in turns if turn.role in labels)


def _exchange(rng: random.Random, assistant: Assistant, turn_number: int) -> tuple[Turn, ...]:
    if turn_number % _TURNS_PER_TOOL_USE == 0:
        asked = f'{{"query": "{rng.choice(PEOPLE)}", "day": {rng.randint(1, 28)}}}'
        found = f'{{"status": "found", "reference": "R-{rng.randint(10000, 99999)}"}}'
        return Turn("tool_calls", asked), Turn("tool_call_result", found)
    return Turn("bot", rng.choice(assistant.bot_lines)), Turn("user", rng.choice(assistant.user_lines))


def _turn_bytes(turn: Turn) -> int:
    if turn.role.startswith("tool"):
        return _TOOL_OVERHEAD_BYTES // 2
    return _TURN_OVERHEAD_BYTES + _COPIES * len(turn.text.encode())
