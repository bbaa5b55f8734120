"""The words of the synthetic preference language: one table per part of speech, each word in lower case.

A content noun belongs to exactly one topic, and no word plays two parts that the reward or an attribute could
confuse. Punctuation marks are words, too: texts are words joined by blanks.
"""

from __future__ import annotations

from itertools import chain


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TOPICS: dict[str, tuple[str, ...]] = {
    "birds": _words("robin sparrow heron owl falcon wren swan raven finch pelican"),
    "tools": _words("hammer saw wrench chisel drill axe rake shovel file anvil"),
    "fruits": _words("apple pear plum cherry peach mango lemon grape fig melon"),
    "fish": _words("salmon trout herring carp tuna cod pike perch eel shark"),
    "trees": _words("oak maple birch willow pine cedar elm ash beech spruce"),
    "flowers": _words("rose tulip lily daisy violet poppy orchid iris peony lilac"),
    "vehicles": _words("car bus truck tram train wagon bicycle ferry van tractor"),
    "instruments": _words("violin flute piano drum guitar harp trumpet cello oboe banjo"),
    "clothes": _words("shirt coat scarf hat glove sock skirt jacket belt boot"),
    "furniture": _words("chair table sofa desk bed stool bench cabinet wardrobe armchair"),
    "buildings": _words("house castle tower barn church school temple palace cabin library"),
    "gems": _words("ruby pearl opal topaz jade emerald sapphire diamond garnet amber"),
}
TOPIC_OF_NOUN: dict[str, str] = {noun: topic for topic, nouns in TOPICS.items() for noun in nouns}

FILLERS = _words("really indeed basically actually honestly simply truly certainly literally obviously")
PRAISE = _words("wonderful brilliant excellent clever splendid")
PRAISED = _words("question idea thought choice remark")
DETERMINERS = _words("a the one my this")  # `a` becomes `an` before a vowel
ADJECTIVES = _words(
    "small big old new bright dark quiet loud heavy light fine plain "
    "strange common rare lovely tiny round long short warm cold famous unusual"
)
CONJUNCTIONS = _words("and or plus")
COMMA, PERIOD, EXCLAMATION = ",", ".", "!"
VOWELS = frozenset("aeiou")

NAMES = _words(
    "anna ben carla david elena felix greta hugo ines jonas karin leo maria nils olga paul "
    "quinn rosa simon tara udo vera walter yara"
)
# What may come before a request; every name gives one more ("anna asks").
COURTESIES = ("", "please", "kindly", "now", "today", "hello")
REQUEST_VERBS = ("name", "list", "mention", "describe", "tell me about", "think of", "show me", "write about")
QUANTIFIERS = ("some", "a few", "several", "many")
OPEN_VERBS = ("say", "write", "tell me", "talk about", "pick", "choose", "list", "mention")
OPEN_OBJECTS = (
    "anything you like",
    "whatever you want",
    "any words you know",
    "anything at all",
    "whatever comes to mind",
    "whatever comes up",
    "whatever you like",
    "whatever you think of",
    "whatever words you want",
    "what you like best",
    "anything",
    "anything you know",
    "something",
    "something nice",
    "something you like",
    "something or other",
    "a few words",
    "some nice words",
    "a thing or two",
)

PAD, BOS, EOS, UNK, ANSWER = "<pad>", "<bos>", "<eos>", "<unk>", "<answer>"
SPECIAL_TOKENS = (PAD, BOS, EOS, UNK, ANSWER)


def vocabulary(topics: tuple[str, ...] = tuple(TOPICS)) -> tuple[str, ...]:
    """All words of the language with these `topics`, special tokens first, each once, in a fixed order."""
    phrases = chain(COURTESIES, REQUEST_VERBS, QUANTIFIERS, OPEN_VERBS, OPEN_OBJECTS)
    words = chain(
        SPECIAL_TOKENS,
        (COMMA, PERIOD, EXCLAMATION),
        (*DETERMINERS, "an", *ADJECTIVES, *CONJUNCTIONS, *FILLERS, *PRAISE, *PRAISED, *NAMES, "asks"),
        chain.from_iterable(phrase.split() for phrase in phrases),
        topics,
        chain.from_iterable(TOPICS[topic] for topic in topics),
    )
    return tuple(dict.fromkeys(words))
