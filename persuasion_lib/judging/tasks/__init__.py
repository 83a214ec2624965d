"""What a judge can be asked, one module a question.

Each holds the question as a class (its template in `configs/prompts`, the schema of its reply, how
a reply is read, what the stand-in says), the questions that a stage has, and the function that
asks them. A new question is a new module here and a new template.

    compare     which of two replies persuades better: labels of pairs, in both orders
    rank        two to six replies, best first
    controls    a reply beside itself, and pairs that are ranked as well
    oracle      a strong reply to a prompt
    tactics     which manipulation tactics a reply uses, and which replies are searched
"""
