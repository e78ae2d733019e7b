//! From text to a checked plan: a recursive-descent parser over Milvus' expression grammar.
//!
//! Operators from the loosest to the tightest: `or`; `and`; `not`; comparisons, `in`, `like`, `is null`; `+ -`; `* / %`;
//! signs; `**`. All binary operators group from the left, `**` too, as in Milvus.

use crate::{
    Params, PrimaryKeys, Schema,
    build::{Builder, Part},
    check::Containment,
    error::Fault,
    expression::{Node, Operand, Plan},
    json::{MAX_LIST_DEPTH, Step},
    limits::{MAX_DEPTH, MAX_STEPS, MAX_TEXT, MAX_VALUES},
    params,
    token::{Described, KEYWORDS, Lexer, Symbol, Token},
    value::{Arithmetic, Comparison, Literal},
};

type Level = u8;

const OR: Level = 1;
const AND: Level = 2;
const COMPARE: Level = 3;
const ADD: Level = 4;
const MULTIPLY: Level = 5;
const SIGN: Level = 6;
const POWER: Level = 7;

/// An operator between two parts, or behind one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Compare(Comparison),
    In,
    NotIn,
    Like,
    Is,
    Arithmetic(Arithmetic),
}

impl Operator {
    fn level(self) -> Level {
        match self {
            Self::Or => OR,
            Self::And => AND,
            Self::Compare(_) | Self::In | Self::NotIn | Self::Like | Self::Is => COMPARE,
            Self::Arithmetic(Arithmetic::Add | Arithmetic::Subtract) => ADD,
            Self::Arithmetic(Arithmetic::Power) => POWER,
            Self::Arithmetic(_) => MULTIPLY,
        }
    }
}

/// Reads a filter; empty text is true everywhere.
pub(crate) fn parse(text: &str, schema: &Schema, params: &Params) -> Result<(Plan, Option<PrimaryKeys>), Fault> {
    if text.len() > MAX_TEXT {
        return Err(Fault::new(
            0,
            format!("the text is longer than {MAX_TEXT} bytes; pass long lists as placeholders"),
        ));
    }
    let mut parser = Parser::new(text, schema, params)?;
    if parser.token == Token::End {
        return Ok(parser.builder.finish(Node::Constant(true)));
    }
    let at = parser.start;
    let part = parser.expression(OR)?;
    if parser.token != Token::End {
        return Err(parser.unexpected());
    }
    let root = parser.builder.condition(part, at)?;
    Ok(parser.builder.finish(root))
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    /// Where the token starts.
    start: usize,
    /// What stood before it, for messages.
    before: Described,
    depth: usize,
    values: usize,
    params: &'a Params,
    builder: Builder<'a>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, schema: &'a Schema, params: &'a Params) -> Result<Self, Fault> {
        let mut lexer = Lexer::new(text);
        let (start, token) = lexer.next()?;
        let builder = Builder::new(schema);
        Ok(Self { lexer, token, start, before: Described::Start, depth: 0, values: 0, params, builder })
    }

    fn advance(&mut self) -> Result<Token<'a>, Fault> {
        let (start, next) = self.lexer.next()?;
        self.start = start;
        let token = std::mem::replace(&mut self.token, next);
        self.before = Described::new(&token);
        Ok(token)
    }

    fn eat(&mut self, symbol: Symbol) -> Result<bool, Fault> {
        let found = self.token == Token::Symbol(symbol);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, symbol: Symbol) -> Result<(), Fault> {
        if self.eat(symbol)? { Ok(()) } else { Err(self.expected(Described::Symbol(symbol))) }
    }

    fn expected(&self, what: impl std::fmt::Display) -> Fault {
        let message = match self.before {
            Described::Start => format!("expected {what}"),
            before => format!("expected {what} after {before}"),
        };
        Fault::new(self.start, message)
    }

    fn unexpected(&self) -> Fault {
        match self.token {
            Token::Symbol(Symbol::Close) => Fault::new(self.start, "a ')' without its '('"),
            _ => self.expected("an operator or the end"),
        }
    }

    /// Reads as long as operators bind at least as tightly as `level`.
    fn expression(&mut self, level: Level) -> Result<Part, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::new(self.start, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        let at = self.start;
        let mut left = self.prefix(level)?;
        while let Some(operator) = self.operator() {
            if operator.level() < level {
                break;
            }
            left = self.infix(left, at, operator)?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operator(&self) -> Option<Operator> {
        Some(match &self.token {
            Token::Symbol(symbol) => match symbol {
                Symbol::Or => Operator::Or,
                Symbol::And => Operator::And,
                Symbol::Equal => Operator::Compare(Comparison::Equal),
                Symbol::NotEqual => Operator::Compare(Comparison::NotEqual),
                Symbol::Less => Operator::Compare(Comparison::Less),
                Symbol::LessOrEqual => Operator::Compare(Comparison::LessOrEqual),
                Symbol::Greater => Operator::Compare(Comparison::Greater),
                Symbol::GreaterOrEqual => Operator::Compare(Comparison::GreaterOrEqual),
                Symbol::Plus => Operator::Arithmetic(Arithmetic::Add),
                Symbol::Minus => Operator::Arithmetic(Arithmetic::Subtract),
                Symbol::Star => Operator::Arithmetic(Arithmetic::Multiply),
                Symbol::Slash => Operator::Arithmetic(Arithmetic::Divide),
                Symbol::Percent => Operator::Arithmetic(Arithmetic::Remainder),
                Symbol::Power => Operator::Arithmetic(Arithmetic::Power),
                Symbol::Not => Operator::NotIn,
                _ => return None,
            },
            token if token.is_word("or") => Operator::Or,
            token if token.is_word("and") => Operator::And,
            token if token.is_word("in") => Operator::In,
            token if token.is_word("not") => Operator::NotIn,
            token if token.is_word("like") => Operator::Like,
            token if token.is_word("is") => Operator::Is,
            _ => return None,
        })
    }

    fn infix(&mut self, left: Part, left_at: usize, operator: Operator) -> Result<Part, Fault> {
        let at = self.start;
        if matches!(operator, Operator::Or | Operator::And) {
            return self.logic(left, left_at, operator).map(Part::Condition);
        }
        self.advance()?;
        match operator {
            Operator::Compare(comparison) => self.comparison(left, comparison, at),
            Operator::Arithmetic(arithmetic) => {
                let right = self.expression(operator.level() + 1)?;
                Builder::arithmetic(arithmetic, left, right, at).map(Part::Value)
            }
            Operator::In => {
                let list = self.expression(ADD)?;
                self.builder.is_in(left, list, at).map(Part::Condition)
            }
            Operator::NotIn => {
                if !self.token.is_word("in") {
                    return Err(self.expected("'in'"));
                }
                self.advance()?;
                let list = self.expression(ADD)?;
                Ok(Part::Condition(Node::Not(Box::new(self.builder.is_in(left, list, at)?))))
            }
            Operator::Like => {
                let pattern = self.expression(ADD)?;
                self.builder.like(left, pattern, at).map(Part::Condition)
            }
            // `or` and `and` were dealt with above.
            Operator::Is | Operator::Or | Operator::And => self.is_null(&left, at),
        }
    }

    /// A chain of `or`, or of `and`, in one loop: it may have any number of terms.
    fn logic(&mut self, left: Part, left_at: usize, operator: Operator) -> Result<Node, Fault> {
        let mut terms = vec![self.builder.condition(left, left_at)?];
        while self.operator() == Some(operator) {
            self.advance()?;
            let at = self.start;
            let part = self.expression(operator.level() + 1)?;
            terms.push(self.builder.condition(part, at)?);
        }
        Ok(if operator == Operator::Or { Builder::any(terms) } else { Builder::all(terms) })
    }

    /// A comparison, or a range such as `1 < a <= 5`.
    fn comparison(&mut self, left: Part, first: Comparison, at: usize) -> Result<Part, Fault> {
        let middle = self.expression(ADD)?;
        let Some(second) = self.range_end(first) else {
            return self.builder.compare(first, left, middle, at).map(Part::Condition);
        };
        let Part::Value(middle) = middle else {
            return Err(Fault::new(at, "a range needs a value in its middle"));
        };
        let second_at = self.start;
        self.advance()?;
        let right = self.expression(ADD)?;
        let low = self.builder.compare(first, left, Part::Value(middle.clone()), at)?;
        let high = self.builder.compare(second, Part::Value(middle), right, second_at)?;
        Ok(Part::Condition(Builder::all(vec![low, high])))
    }

    /// The next comparison, if it goes on in the direction of the first one.
    fn range_end(&self, first: Comparison) -> Option<Comparison> {
        let is_less = |comparison| matches!(comparison, Comparison::Less | Comparison::LessOrEqual);
        match self.operator()? {
            Operator::Compare(second)
                if !first.is_equality() && !second.is_equality() && is_less(first) == is_less(second) =>
            {
                Some(second)
            }
            _ => None,
        }
    }

    fn is_null(&mut self, left: &Part, at: usize) -> Result<Part, Fault> {
        let negated = self.token.is_word("not");
        if negated {
            self.advance()?;
        }
        if !self.token.is_word("null") {
            return Err(self.expected("'null'"));
        }
        self.advance()?;
        let node = self.builder.is_null(left, at)?;
        Ok(Part::Condition(if negated { Node::Not(Box::new(node)) } else { node }))
    }

    fn prefix(&mut self, level: Level) -> Result<Part, Fault> {
        let at = self.start;
        if level <= COMPARE && (self.token == Token::Symbol(Symbol::Not) || self.token.is_word("not")) {
            self.advance()?;
            let inner_at = self.start;
            let inner = self.expression(COMPARE)?;
            let inner = self.builder.condition(inner, inner_at)?;
            return Ok(Part::Condition(Node::Not(Box::new(inner))));
        }
        match &self.token {
            Token::Word(_) => self.word(),
            Token::Symbol(Symbol::Open) => {
                self.advance()?;
                let inner = self.expression(OR)?;
                self.expect(Symbol::Close)?;
                Ok(inner)
            }
            Token::Symbol(Symbol::OpenList) => self.list(),
            Token::Symbol(Symbol::OpenBrace) => self.placeholder(),
            Token::Symbol(Symbol::Minus) => self.negative(),
            Token::Symbol(Symbol::Plus) => {
                self.advance()?;
                let operand = self.expression(SIGN)?;
                Builder::arithmetic(Arithmetic::Add, literal(Literal::Int(0)), operand, at).map(Part::Value)
            }
            Token::Int(_) | Token::Float(_) | Token::Text(_) => self.literal(),
            Token::Symbol(_) | Token::End => Err(self.expected("a value")),
        }
    }

    fn literal(&mut self) -> Result<Part, Fault> {
        let at = self.start;
        Ok(literal(match self.advance()? {
            Token::Int(value) => match i64::try_from(value) {
                Ok(value) => Literal::Int(value),
                Err(_) => return Err(Fault::new(at, "a whole number too large for Int64")),
            },
            Token::Float(value) => Literal::Float(value),
            Token::Text(value) => Literal::Text(value.into_owned()),
            // Only called for the three above.
            _ => return Err(Fault::new(at, "expected a value")),
        }))
    }

    fn negative(&mut self) -> Result<Part, Fault> {
        let at = self.start;
        self.advance()?;
        // The smallest integer has no positive counterpart to negate.
        if self.token == Token::Int(i64::MIN.unsigned_abs()) {
            self.advance()?;
            return Ok(literal(Literal::Int(i64::MIN)));
        }
        match self.expression(SIGN)? {
            Part::Value(Operand::Literal(Literal::Float(value))) => Ok(literal(Literal::Float(-value))),
            operand => {
                Builder::arithmetic(Arithmetic::Subtract, literal(Literal::Int(0)), operand, at).map(Part::Value)
            }
        }
    }

    /// A list of values, or of lists.
    fn list(&mut self) -> Result<Part, Fault> {
        self.advance()?;
        let mut items = Vec::new();
        while self.token != Token::Symbol(Symbol::CloseList) {
            let at = self.start;
            match self.expression(ADD)? {
                Part::Value(Operand::Literal(item)) if list_depth(&item) < MAX_LIST_DEPTH => items.push(item),
                Part::Value(Operand::Literal(_)) => {
                    return Err(Fault::new(at, format!("lists nest at most {MAX_LIST_DEPTH} levels deep")));
                }
                _ => return Err(Fault::new(at, "a list may hold only values, no fields")),
            }
            self.count_values(1, at)?;
            if !self.eat(Symbol::Comma)? {
                break;
            }
        }
        self.expect(Symbol::CloseList)?;
        Ok(literal(Literal::List(items)))
    }

    fn count_values(&mut self, count: usize, at: usize) -> Result<(), Fault> {
        self.values += count;
        if self.values > MAX_VALUES {
            return Err(Fault::new(at, format!("more than {MAX_VALUES} values in lists")));
        }
        Ok(())
    }

    /// `{name}`, a value given beside the text.
    fn placeholder(&mut self) -> Result<Part, Fault> {
        self.advance()?;
        let at = self.start;
        let Token::Word(name) = self.token else { return Err(self.expected("a placeholder's name")) };
        self.advance()?;
        self.expect(Symbol::CloseBrace)?;
        let Some(value) = self.params.get(name) else {
            return Err(Fault::new(at, "no value was given for this placeholder"));
        };
        let (value, count) = params::literal(value).map_err(|message| Fault::new(at, message))?;
        self.count_values(count, at)?;
        Ok(literal(value))
    }

    fn word(&mut self) -> Result<Part, Fault> {
        let at = self.start;
        let Token::Word(word) = self.advance()? else { return Err(Fault::new(at, "expected a name")) };
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        if is("true") || is("false") {
            return Ok(literal(Literal::Bool(is("true"))));
        }
        if is("exists") {
            let part = self.expression(SIGN)?;
            return self.builder.exists(&part, at).map(Part::Condition);
        }
        if self.token == Token::Symbol(Symbol::Open) {
            return self.function(word, at);
        }
        let is_keyword = KEYWORDS.iter().any(|keyword| is(keyword));
        if is_keyword && !self.builder.declares(word) {
            return Err(Fault::new(
                at,
                "expected a value, but found a keyword; reach a dynamic field of that name by $meta",
            ));
        }
        let steps = self.steps()?;
        self.builder.name(word, steps, at).map(Part::Value)
    }

    /// `["a"][0]`
    fn steps(&mut self) -> Result<Vec<Step>, Fault> {
        let mut steps = Vec::new();
        while self.eat(Symbol::OpenList)? {
            let at = self.start;
            match &self.token {
                Token::Text(key) => steps.push(Step::Key(key.clone().into_owned())),
                Token::Int(place) if usize::try_from(*place).is_ok() => {
                    steps.push(Step::Place(usize::try_from(*place).unwrap_or(usize::MAX)));
                }
                _ => return Err(self.expected("a quoted key or a whole number")),
            }
            if steps.len() > MAX_STEPS {
                return Err(Fault::new(at, format!("a path of more than {MAX_STEPS} steps")));
            }
            self.advance()?;
            self.expect(Symbol::CloseList)?;
        }
        Ok(steps)
    }

    fn function(&mut self, name: &str, at: usize) -> Result<Part, Fault> {
        let how = match name.to_ascii_lowercase().as_str() {
            "json_contains" | "array_contains" => Some(Containment::One),
            "json_contains_all" | "array_contains_all" => Some(Containment::All),
            "json_contains_any" | "array_contains_any" => Some(Containment::Any),
            "array_length" => None,
            _ => {
                return Err(Fault::new(
                    at,
                    "no such function; there are array_contains, array_contains_all, array_contains_any, the same \
                     with json_, and array_length",
                ));
            }
        };
        self.advance()?;
        let list = self.expression(OR)?;
        let Some(how) = how else {
            self.expect(Symbol::Close)?;
            return self.builder.length(list, at).map(Part::Value);
        };
        self.expect(Symbol::Comma)?;
        let wanted = self.expression(OR)?;
        self.expect(Symbol::Close)?;
        self.builder.contains(how, list, wanted, at).map(Part::Condition)
    }
}

fn literal(literal: Literal) -> Part {
    Part::Value(Operand::Literal(literal))
}

/// How deep lists nest in the value: 0 for one that is no list.
fn list_depth(literal: &Literal) -> u8 {
    let Literal::List(items) = literal else { return 0 };
    // Lists are built from the inside, each checked, so this goes a few levels deep.
    items.iter().map(list_depth).max().unwrap_or_default() + 1
}
