#!/usr/bin/env python3
"""Makes prompts of all seven tasks from templates: text for fitting what pruning predicts (tools/train_prune.py).

usage: make_prompts.py [--each N] [--seed S] > prompts.jsonl
       make_prompts.py --half 0|1 FILE > prompts.jsonl      every second prompt of each task of a file, tasks in turn

Same form as prompts/prompts.jsonl. All content is invented here; the same seed gives the same file."""
import argparse
import json
import random

PEOPLE = "Ana Boris Chen Dalia Emeka Farah Goran Hana Ines Jonas Karim Lena Mateo Nadia Otto Priya Rosa Sven Tariq Ume".split()
TOWNS = "Alderbrook Brennsund Corva Dunmere Eastvale Farrow Glimmen Harwick Isenport Kelso Lorne Maresk Norholm Ostra".split()
THINGS = "apples notebooks lamps tickets bricks candles bottles chairs stamps shirts batteries tiles".split()
SHOPS = ["a bakery", "a bookshop", "a garden centre", "a repair café", "a school canteen", "a small factory", "a museum shop"]
LANGS = ["German", "French", "Spanish", "Italian", "Portuguese", "Dutch", "Chinese", "Japanese"]
ANIMALS = "heron otter lynx badger tortoise falcon hedgehog salmon bat beaver".split()

CODE = [
    ("merge_intervals(intervals)", "Given a list of [start, end] pairs, return the merged, sorted list of non-overlapping intervals."),
    ("run_length(text)", "Return the run-length encoding of text as a list of (character, count) pairs."),
    ("top_words(text, k)", "Return the k most frequent words of text, ties in alphabetical order."),
    ("rotate(matrix)", "Return the matrix turned by 90 degrees clockwise, without changing the input."),
    ("is_balanced(s)", "Return True if the brackets (), [] and {} in s are balanced."),
    ("prime_factors(n)", "Return the prime factors of n in rising order, with repetition."),
    ("flatten(tree)", "Flatten a nested list of any depth into one list of leaves."),
    ("to_roman(n)", "Return the Roman numeral of n for 1 <= n <= 3999."),
    ("common_prefix(words)", "Return the longest common prefix of a list of words."),
    ("moving_average(xs, k)", "Return the averages of every window of k consecutive numbers of xs."),
    ("group_anagrams(words)", "Group words that are anagrams of each other; keep the order of first appearance."),
    ("binary_search(xs, x)", "Return an index of x in the sorted list xs, or -1."),
    ("parse_query(query)", "Parse a URL query string into a dict from key to a list of values."),
    ("spiral(matrix)", "Return the elements of the matrix in clockwise spiral order."),
    ("edit_distance(a, b)", "Return the Levenshtein distance of two strings."),
    ("schedule(tasks)", "Given a dict from task to the tasks it depends on, return an order in which all can be done, or None."),
    ("compress_path(path)", "Return the shortest absolute path equal to path, without . and .. parts."),
    ("knapsack(items, limit)", "Items are (weight, value) pairs. Return the largest total value within the limit, each item at most once."),
    ("word_wrap(text, width)", "Break text into lines of at most width characters without splitting words."),
    ("histogram(values, bins)", "Count values in equally wide bins between the smallest and the largest value."),
]
CODE_ASKS = [
    "Write the Python function `{sig}`. {doc} Reply with one code block.",
    "Write the Python function `{sig}`. {doc} Then explain in a short paragraph how it works.",
    "Write pytest tests for a Python function `{sig}` that does this: {doc} Do not write the function itself.",
    "Write in JavaScript the equivalent of a Python function `{sig}`. {doc}",
    "Write in C a function for the following, with a short main that shows it. {doc}",
    "Write a Python class with a docstring and three methods around this idea: {doc}",
]
CHAT = [
    "Write a friendly e-mail to {p}, who missed the meeting in {t}, and sum up what was decided about the {th}.",
    "I want to learn to cook with a small budget in {t}. Make me a plan for one week.",
    "Give me ten tips for a first visit to {t}, a small harbour town.",
    "Explain to a ten-year-old why a {a} can live where it lives.",
    "Write a short story about {p} and a lost {a}.",
    "Compare working from home with working in an office, as a table, and add your advice for {p}.",
    "Write a speech of one minute for the opening of {s} in {t}.",
    "Suggest five names for {s} that sells {th}, each with a reason.",
    "{p} is nervous before a job interview. What should {p} prepare? Answer with numbered steps.",
    "Write a poem of twelve lines about {t} in the rain.",
]
QA = [
    "Why do {a}s matter for the places where they live?", "How does a vaccine work?", "What causes the tides?",
    "Why is the sky red at sunset?", "What is the difference between weather and climate?",
    "How does a refrigerator move heat?", "What is inflation, and who is hurt by it?", "How do noise-cancelling headphones work?",
    "Why do leaves change their colour in autumn?", "What does a compiler do?", "How are tunnels built under rivers?",
    "What is a leap year, and why do we need it?", "How does a lithium battery age?", "Why do cats purr?",
    "What happens when bread rises?", "How does GPS find a position?", "What is the purpose of a constitution?",
    "Why does ice float?", "What is public-key cryptography?", "How do bees find their way home?",
]


def math_prompt(r):
    a, b, c = r.randint(3, 40), r.randint(2, 12), r.randint(2, 9)
    p, q = r.sample(PEOPLE, 2)
    th = r.choice(THINGS)
    return r.choice([
        f"{p} buys {b} boxes of {th} with {a} in each box and gives a third of all of them to {q}, rounded down. Then {c} break. How many {th} does {p} still have?",
        f"A train leaves {r.choice(TOWNS)} at {r.randint(6, 11)}:{r.choice(['00', '15', '30'])} with {a + 40} km/h. Another follows {c} tenths of an hour later with {a + 70} km/h. After how many minutes does the second one catch up?",
        f"{p} saves {a} euros each week. {q} starts with {a * b} euros and spends {c} euros each week. After how many weeks has {p} more than {q}?",
        f"A rectangular garden is {a + 5} m long and {b + 4} m wide. A path of {c} tenths of a metre runs around it outside. What is the area of the path?",
        f"The price of {th} rises by {a} percent and then falls by {b} percent. By how many percent has it changed? Show each step.",
        f"{p}, {q} and a friend share {a * b + c} {th} in the ratio {b}:{c}:1. How many are left over if nothing is cut?",
        f"Solve the equation {b}x + {a} = {c}x - {a + b} and check the result.",
        f"A tank holds {a * 10} litres. One pipe fills it in {b + 2} hours, another empties it in {b + c + 4} hours. Both are open. How long does it take to fill?",
    ])


def passage(r, n):
    """n invented sentences about a town."""
    t, p, q = r.choice(TOWNS), *r.sample(PEOPLE, 2)
    th, a = r.choice(THINGS), r.choice(ANIMALS)
    year = r.randint(1780, 1990)
    pool = [
        f"{t} lies on the western bank of a slow river, about {r.randint(12, 90)} kilometres from the coast.",
        f"The first bridge was built in {year} by an engineer named {p}, who had studied abroad for {r.randint(2, 6)} years.",
        f"For a long time most families lived from making {th}, which were sold as far away as {r.choice(TOWNS)}.",
        f"In {year + r.randint(10, 40)} a fire destroyed {r.randint(20, 90)} houses around the market square, and the council decided that new roofs had to be of slate.",
        f"The railway reached the town only in {year + r.randint(41, 60)}, after three failed attempts to raise the money.",
        f"Since then the population has grown from {r.randint(2, 9)},{r.randint(100, 999)} to {r.randint(12, 60)},{r.randint(100, 999)}.",
        f"A well-known resident was {q}, a teacher who collected more than {r.randint(3, 12)} thousand pressed plants.",
        f"The collection can be seen on Wednesdays and Saturdays in the old customs house.",
        f"Visitors also come for the {a}s, which returned to the wetlands after the paper mill had closed.",
        f"Biologists counted {r.randint(14, 80)} pairs last spring, more than twice as many as ten years before.",
        f"Not everybody is happy about this, because fishermen say that their catch has become smaller.",
        f"The council pays them up to {r.randint(200, 900)} euros a year for damage to nets.",
        f"A new school with room for {r.randint(200, 700)} pupils opened in September, heated by water from a mine.",
        f"Its architect said that the plan had been drawn with the help of the pupils, who asked for wide stairs to sit on.",
        f"Next year the town wants to close the main street to cars on weekends, first as a trial of {r.randint(3, 9)} months.",
        f"Shop owners are divided: a survey found {r.randint(40, 55)} percent for it and {r.randint(30, 39)} percent against.",
    ]
    keep = sorted(r.sample(range(len(pool)), min(n, len(pool))))
    return t, " ".join(pool[i] for i in keep)


def prompt(task, i, r):
    if task == "code":
        sig, doc = CODE[i % len(CODE)]
        return CODE_ASKS[(i // len(CODE) + i) % len(CODE_ASKS)].format(sig=sig, doc=doc)
    if task == "math":
        return math_prompt(r)
    if task == "chat":
        return CHAT[i % len(CHAT)].format(p=r.choice(PEOPLE), t=r.choice(TOWNS), th=r.choice(THINGS), a=r.choice(ANIMALS), s=r.choice(SHOPS))
    if task == "qa":
        return QA[i % len(QA)].format(a=r.choice(ANIMALS))
    if task == "translation":
        return f"Translate into {LANGS[i % len(LANGS)]}:\n\n" + passage(r, r.randint(3, 6))[1]
    if task == "summarization":
        return r.choice(["Summarize the text in three sentences.", "Summarize in bullet points:", "Give a short summary of this article."]) + \
            "\n\n" + passage(r, 12)[1]
    parts = [passage(r, 6) for _ in range(3)]
    town = r.choice(parts)[0]
    ask = r.choice([f"What makes {town} special?", f"How has {town} changed over time?", f"What do people in {town} disagree about?",
                    f"Which numbers are given for {town}?"])
    return "Answer the question from the documents below.\n\n" + "\n\n".join(
        f"[{k + 1}] {text}" for k, (_, text) in enumerate(parts)) + f"\n\nQuestion: {ask}"


def half(path, which):
    of = {}
    for line in open(path):
        of.setdefault(json.loads(line)["task"], []).append(line)
    of = [lines[which::2] for lines in of.values()]
    for i in range(max(map(len, of))):
        for lines in of:
            if i < len(lines):
                print(lines[i], end="")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--each", type=int, default=20, help="prompts a task")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--half", type=int, choices=(0, 1))
    ap.add_argument("file", nargs="?")
    a = ap.parse_args()
    if a.half is not None:
        half(a.file, a.half)
        return
    tasks = ["code", "math", "chat", "qa", "rag", "summarization", "translation"]
    for i in range(a.each):
        for task in tasks:  # tasks in turn: any piece of the file has all of them
            r = random.Random(f"{a.seed}/{task}/{i}")
            print(json.dumps({"id": f"made-{a.seed}-{i}", "task": task, "source": "templates",
                              "messages": [{"role": "user", "content": prompt(task, i, r)}]}))


if __name__ == "__main__":
    main()
