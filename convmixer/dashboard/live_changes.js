// The card of a run's page that changes values while the run trains, as the command `set` does.
"use strict"

window.LiveChangesCard = class {
    constructor(uuid, parent) {
        this.address = `/api/v1/live/${uuid}`
        this.card = add(parent, "div", "labml-card live-changes hide")
        add(this.card, "h3", "header", "Live changes")
        this.form = add(this.card, "form", "input-container")
        const fields = add(this.form, "div", "input-content")
        this.key = add(fields, "select", "key")
        this.value = add(fields, "input", "value")
        this.button = add(fields, "button", "btn nav-link tab", "Set")
        this.message = add(this.card, "p", "message")
        this.waiting = add(this.card, "ul", "waiting")
        this.changes = add(this.card, "ul", "changes")
        this.key.setAttribute("aria-label", "key")
        this.value.setAttribute("aria-label", "new value")
        this.message.setAttribute("role", "alert")
        this.value.type = "text"
        this.value.autocomplete = "off"
        this.key.addEventListener("change", () => this.chooseKey())
        this.form.addEventListener("submit", event => {
            event.preventDefault()
            this.set()
        })
        this.refresh()
    }

    getLastUpdated() {
        return Date.now()
    }

    async refresh() {
        try {
            const answer = await fetch(this.address)
            if (answer.ok) this.show(await answer.json())
        } catch { // the server is away: the page says so
        }
    }

    show(state) {
        this.card.classList.toggle("hide", !state.is_open && !state.changes.length && !state.waiting.length)
        this.form.classList.toggle("hide", !state.is_open)
        this.values = state.keys
        const names = Object.keys(state.keys)
        if (names.join() !== [...this.key.options].map(option => option.value).join()) {
            this.key.replaceChildren(...names.map(name => new Option(name, name)))
        }
        this.chooseKey()
        list(this.waiting, state.waiting.map(text => `waits for the next update: ${text}`))
        list(this.changes, state.changes.toReversed())
    }

    chooseKey() {
        const isStop = this.key.value === "stop"
        this.value.classList.toggle("hide", isStop)
        this.button.innerText = isStop ? "End the training now, and test it" : "Set"
        this.value.placeholder = isStop ? "" : `now ${this.values[this.key.value]}`
    }

    async set() {
        const value = this.key.value === "stop" ? "true" : this.value.value.trim()
        this.button.disabled = true
        this.message.innerText = "checking ..."
        this.message.classList.remove("text-danger")
        this.message.innerText = await this.refusal({key: this.key.value, value: value})
        this.message.classList.add("text-danger")
        this.button.disabled = false
        if (!this.message.innerText) this.value.value = ""
    }

    async refusal(asked) {
        try {
            const headers = {"Content-Type": "application/json"}
            const answer = await fetch(this.address, {method: "POST", headers: headers, body: JSON.stringify(asked)})
            const text = await answer.text()
            if (!answer.ok) return errorIn(text)
            const state = JSON.parse(text)
            this.show(state)
            return state.refusal
        } catch (error) {
            return `the dashboard does not answer: ${error.message}`
        }
    }
}

function errorIn(text) {
    try {
        const answer = JSON.parse(text)
        return answer.error || answer.detail || text
    } catch {
        return text
    }
}

function add(parent, tag, classes, text = "") {
    const element = document.createElement(tag)
    element.className = classes
    element.textContent = text
    return parent.appendChild(element)
}

function list(parent, texts) {
    if (texts.join("\n") === [...parent.children].map(item => item.textContent).join("\n")) return
    parent.replaceChildren()
    texts.forEach(text => add(parent, "li", "", text))
}
